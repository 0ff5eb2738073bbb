"""Namespaces, as in pg_0009_namespaces."""

from __future__ import annotations

from typing import Any

from ...errors import NamespaceDeleted, NotFound
from ...namespaces import check_registrable, hash_path, namespace_segments
from ...requests import Row
from .. import values
from ..registry import function, one_value
from ..session import Session
from .checks import check_page, quoted

BELOW = """(path = :scope or sort_path >= replace(:scope, ':', char(1)) || char(1)
                       and sort_path < replace(:scope, ':', char(1)) || char(2))"""
"""SQL: a namespace is the scope ``:scope``, or below it."""


def scope_nos(session: Session, scope: str) -> list[int] | None:
    """The live namespaces at or below a scope, by number. None means all there are: ``*`` while nothing is deleted."""
    if scope == "*":
        if session.one("select 1 from namespaces where deleted_at is not null limit 1") is None:
            return None
        return [no for (no,) in session.all("select namespace_no from namespaces where deleted_at is null")]
    namespace_segments(scope)
    return [
        no
        for (no,) in session.all(
            f"select namespace_no from namespaces where deleted_at is null and {BELOW}", {"scope": scope}
        )
    ]


def namespace_no(session: Session, path: str) -> int:
    """The number of a namespace, registered on first use. Raises BadNamespace, NamespaceDeleted."""
    found = session.one("select namespace_no, deleted_at from namespaces where path = ?", (path,))
    if found is None:
        deleted = _deleted_above(session, path)
        if deleted is None:
            check_registrable(path)
            session.run(
                "insert into namespaces (namespace_id, path, created_at) values (?, ?, ?)",
                (hash_path(path).bytes, path, session.now),
            )
            return session.conn.last_insert_rowid()
        path = deleted
    elif found[1] is None:
        return int(found[0])
    raise NamespaceDeleted(
        f"namespace '{path}' is deleted",
        hint=f"Bring it back with restore_namespace('{path}'), or let purge remove it and start anew.",
    )


def _deleted_above(session: Session, path: str) -> str | None:
    """The highest namespace above this one that is deleted, if any is. Raises BadNamespace."""
    segments = namespace_segments(path)
    above = [":".join(segments[:n]) for n in range(1, len(segments))]
    found = session.one(
        f"select path from namespaces where deleted_at is not null and path in ({','.join('?' * len(above))}) "
        "order by length(path)",
        above,
    )
    return None if found is None else str(found[0])


@function("write")
def ensure_namespace(session: Session, path: str) -> list[Row]:
    """Register a namespace on first use; its id."""
    namespace_segments(path)
    namespace_no(session, path)
    return one_value("ensure_namespace", hash_path(path))


@function("read")
def list_namespaces(
    session: Session, scope: str = "*", include_deleted: bool = False, page_size: int = 100, after: str | None = None
) -> list[Row]:
    """One page of the namespaces at or below a scope, in the order of their segments."""
    arguments: dict[str, Any] = {"page_size": page_size}
    conditions = ["true"]
    if scope != "*":
        namespace_segments(scope)
        conditions.append(BELOW)
        arguments["scope"] = scope
    if not include_deleted:
        conditions.append("deleted_at is null")
    if after is not None:
        namespace_segments(after)
        conditions.append("sort_path > replace(:after, ':', char(1))")
        arguments["after"] = after
    check_page(page_size)  # last, as on a server: of two bad arguments the same is named
    rows = session.all(
        f"select path, namespace_id, created_at, deleted_at from namespaces where {' and '.join(conditions)} "
        "order by sort_path limit :page_size",
        arguments,
    )
    return [
        {
            "namespace": path,
            "namespace_id": values.to_uuid(found),
            "created_at": values.to_time(created),
            "deleted_at": values.to_time(deleted),
        }
        for path, found, created, deleted in rows
    ]


@function("write")
def delete_namespace(session: Session, path: str) -> list[Row]:
    """Hide a namespace and all below it; how many were hidden."""
    namespace_segments(path)
    if session.one(f"select 1 from namespaces where {BELOW} limit 1", {"scope": path}) is None:
        raise NotFound(f"there is no namespace at or below {quoted(path)}", hint="See list_namespaces().")
    # A row for the path itself, so that nothing new can be written below it.
    session.run(
        "insert or ignore into namespaces (namespace_id, path, created_at) values (?, ?, ?)",
        (hash_path(path).bytes, path, session.now),
    )
    hidden = session.run(
        f"update namespaces set deleted_at = :now where deleted_at is null and {BELOW}",
        {"scope": path, "now": session.now},
    )
    return one_value("delete_namespace", hidden)


@function("write")
def restore_namespace(session: Session, path: str) -> list[Row]:
    """Bring back a namespace with all that was deleted together with it; how many."""
    namespace_segments(path)
    found = session.one("select deleted_at from namespaces where path = ?", (path,))
    if found is None:
        raise NotFound(f"there is no namespace {quoted(path)}", hint="See list_namespaces(include_deleted=True).")
    if above := _deleted_above(session, path):
        raise NamespaceDeleted(
            f"namespace {quoted(above)}, above it, is deleted",
            hint=f"Bring that back first: restore_namespace('{above}').",
        )
    restored = session.run(
        f"update namespaces set deleted_at = null where deleted_at = :at and {BELOW}", {"scope": path, "at": found[0]}
    )
    return one_value("restore_namespace", restored)
