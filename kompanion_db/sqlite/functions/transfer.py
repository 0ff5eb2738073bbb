"""Moving out and in, as in pg_0036_export and pg_0037_import: a scope as JSON documents, whole."""

from __future__ import annotations

from ...requests import Row
from .. import values
from ..exporting import (
    FORMAT,
    SETTINGS,
    Json,
    item_documents,
    item_places,
    moment,
    spaces_from,
    uuid_text,
    written,
)
from ..importing import read_documents, write_items, write_registry
from ..registry import function
from ..session import Session
from .checks import check_page, dumped


@function("read")
def export_registry(session: Session, scope: str = "*") -> list[Row]:
    """What items refer to, as documents for import_documents: settings, models, namespaces, users, threads."""
    spaces = {space.number: space for space in spaces_from(session, scope)}
    found = [written(kind="export", format=FORMAT)]
    if scope == "*":
        found += [
            written(kind="setting", name=name, value=Json(value))
            for name, value in session.all(
                "select name, json(value) from settings where name in (select value from json_each(?)) order by name",
                (dumped(SETTINGS),),
            )
        ]
    found += [
        written(
            kind="model", name=name, dim=dim, metric=metric, is_default=bool(default),
            created_at=moment(created), retired_at=moment(retired),
        )
        for name, dim, metric, default, created, retired in session.all(
            "select name, dim, metric, is_default, created_at, retired_at from embedding_models order by model_id"
        )
    ]  # fmt: skip
    found += [
        written(kind="namespace", path=path, created_at=moment(created), deleted_at=moment(deleted))
        for number, path, created, deleted in session.all(
            "select namespace_no, path, created_at, deleted_at from namespaces order by sort_path"
        )
        if number in spaces
    ]
    for kind, also in (("user", "display_name"), ("thread", "title")):
        closed = ", r.closed_at" if kind == "thread" else ""
        found += [
            written(
                kind=kind, namespace=spaces[number].path,
                **{f"{kind}_id": uuid_text(own_id), "key": key, also: name, "metadata": Json(metadata)},
                created_at=moment(created), **({"closed_at": moment(closed_at[0])} if closed_at else {}),
            )
            for number, own_id, key, name, metadata, created, *closed_at in session.all(
                f"select r.namespace_no, r.{kind}_id, r.key, r.{also}, json(r.metadata), r.created_at{closed} "
                f"from {kind}s r join namespaces n on n.namespace_no = r.namespace_no order by n.sort_path, r.key"
            )
            if number in spaces
        ]  # fmt: skip
    return [{"document": str(text)} for text in found]


@function("read")
def export_marks(session: Session, scope: str = "*", page_size: int = 100, after: str | None = None) -> list[Row]:
    """Cursor, revision and time of the items that export_items gives, in the same order."""
    check_page(page_size)
    return [
        {
            "cursor": f"{uuid_text(space.id)}/{uuid_text(item_id)}",
            "revision": revision,
            "updated_at": values.to_time(updated),
        }
        for space, rows in item_places(session, scope, page_size, after)
        for _, item_id, revision, updated in rows
    ]


@function("read")
def export_items(session: Session, scope: str = "*", page_size: int = 100, after: str | None = None) -> list[Row]:
    """One page of items with revisions, chunks and vectors, deleted and expired ones too, in order of their ids."""
    check_page(page_size)
    found = []
    for space, rows in item_places(session, scope, page_size, after):
        documents = item_documents(session, space, [number for number, *_ in rows])
        for (_, item_id, *_), document in zip(rows, documents, strict=True):
            found.append({"document": str(document), "cursor": f"{uuid_text(space.id)}/{uuid_text(item_id)}"})
    return found


@function("write")
def import_documents(session: Session, documents: str | None) -> list[Row]:
    """Write documents of an export as they were; items whose name is taken are skipped. Counts."""
    listed = read_documents(documents)
    registry = write_registry(session, listed)
    given = [document for document in listed if document["kind"] == "item"]
    items = write_items(session, given)
    return [{"registry": registry, "items": items, "skipped": len(given) - items}]
