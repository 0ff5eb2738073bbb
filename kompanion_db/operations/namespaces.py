"""Namespaces, users and threads."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from .. import arguments as check
from ..requests import Steps, rows_of, value_of
from ..types import Namespace, Thread


def ensure_namespace(path: str) -> Steps[UUID]:
    """Register a namespace on first use; return its id. Writing calls do it by themselves.

    Raises BadNamespace; NamespaceDeleted when it or one above it is soft-deleted.
    """
    result: UUID = yield from value_of("ensure_namespace", False, path=check.text("path", path))
    return result


def list_namespaces(
    scope: str = "*", *, include_deleted: bool = False, page_size: int = 100, after: str | None = None
) -> Steps[list[Namespace]]:
    """One page of the namespaces at or below a scope, in order; ``after``: the last namespace of the page before.

    Raises BadNamespace, BadArgument.
    """
    rows = yield from rows_of(
        "list_namespaces",
        scope=check.text("scope", scope),
        include_deleted=check.flag("include_deleted", include_deleted),
        page_size=check.integer("page_size", page_size),
        after=check.text("after", after),
    )
    return [Namespace(**row) for row in rows]


def delete_namespace(path: str) -> Steps[int]:
    """Soft-delete a namespace and all below it; return how many were hidden.

    ``restore_namespace`` brings them back until ``purge`` removes them. Raises BadNamespace, NotFound.
    """
    result: int = yield from value_of("delete_namespace", False, path=check.text("path", path))
    return result


def restore_namespace(path: str) -> Steps[int]:
    """Bring back a namespace and what was deleted together with it; return how many.

    Raises NotFound, and NamespaceDeleted while one above it is deleted.
    """
    result: int = yield from value_of("restore_namespace", False, path=check.text("path", path))
    return result


def ensure_user(
    namespace: str, key: str, *, display_name: str | None = None, metadata: Mapping[str, Any] | None = None
) -> Steps[UUID]:
    """Register a user of a namespace, or update what is given; return the user's id.

    Raises BadNamespace, BadArgument, TooLarge.
    """
    result: UUID = yield from value_of(
        "ensure_user",
        False,
        namespace=check.text("namespace", namespace),
        key=check.text("key", key),
        display_name=check.text("display_name", display_name),
        metadata=check.json_object("metadata", metadata),
    )
    return result


def ensure_thread(
    namespace: str,
    key: str,
    *,
    title: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    reopen: bool = False,
) -> Steps[UUID]:
    """Register a thread of a namespace, or update what is given; return its id.

    ``reopen`` opens a closed one. Raises BadNamespace, BadArgument, TooLarge.
    """
    result: UUID = yield from value_of(
        "ensure_thread",
        False,
        namespace=check.text("namespace", namespace),
        key=check.text("key", key),
        title=check.text("title", title),
        metadata=check.json_object("metadata", metadata),
        reopen=check.flag("reopen", reopen),
    )
    return result


def close_thread(namespace: str, key: str) -> Steps[datetime]:
    """Close a thread: readable, but takes no new memories; return since when. Raises NotFound."""
    result: datetime = yield from value_of(
        "close_thread", False, namespace=check.text("namespace", namespace), key=check.text("key", key)
    )
    return result


def list_threads(scope: str, *, page_size: int = 100, after: str | None = None) -> Steps[list[Thread]]:
    """One page of the threads in a scope, newest first; ``after``: the cursor of the last one before.

    Raises BadNamespace, BadArgument.
    """
    rows = yield from rows_of(
        "list_threads",
        scope=check.text("scope", scope),
        page_size=check.integer("page_size", page_size),
        after=check.text("after", after),
    )
    return [Thread(**row) for row in rows]
