"""Export and import of a whole scope, as JSON documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import arguments as check
from ..metadata import decoded
from ..requests import Steps, rows_of
from ..types import Imported


def export_registry(scope: str = "*") -> Steps[list[dict[str, Any]]]:
    """Settings, models, namespaces, users and threads of a scope as documents, deleted too. Raises BadNamespace."""
    rows = yield from rows_of("export_registry", scope=check.text("scope", scope))
    return [_read(row["document"]) for row in rows]


def export_items(
    scope: str = "*", *, page_size: int = 100, after: str | None = None
) -> Steps[tuple[list[dict[str, Any]], str | None]]:
    """One page of items as documents, whole: revisions, chunks, vectors, queue, times; deleted and expired ones too.

    Returns the documents and the cursor to pass as ``after`` for the next page, None after the last one.
    Raises BadNamespace, BadArgument, TooLarge (on PostgreSQL: an item of more than 256 MB with its revisions).
    """
    rows = yield from rows_of(
        "export_items",
        scope=check.text("scope", scope),
        page_size=check.integer("page_size", page_size),
        after=check.text("after", after),
    )
    return [_read(row["document"]) for row in rows], rows[-1]["cursor"] if len(rows) == page_size else None


def import_documents(documents: Sequence[dict[str, Any]]) -> Steps[Imported]:
    """Write documents of an export as they were, in one transaction; items whose name is taken are skipped.

    Raises BadArgument, BadNamespace, ModelConflict.
    """
    dumped = check.json_list("documents", documents)
    rows = yield from rows_of("import_documents", False, documents=dumped)
    return Imported(**rows[0])


def _read(document: Any) -> Any:
    return decoded(document) if isinstance(document, str) else document  # SQLite has no type for JSON
