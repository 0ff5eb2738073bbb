"""Users and threads, as in pg_0010_users_threads."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from ...errors import NotFound, ThreadClosed
from ...namespaces import namespace_segments
from ...requests import Row
from .. import values
from ..documents import metadata_text
from ..registry import function, one_value
from ..session import Session
from .checks import check_name, check_page, quoted, read_cursor, write_cursor
from .namespaces import BELOW, namespace_no


def user_no(session: Session, namespace: int, key: str | None) -> int | None:
    """The number of a user, registered on first use; None for no user. Raises BadArgument."""
    if key is None:
        return None
    found = session.one("select user_no from users where namespace_no = ? and key = ?", (namespace, key))
    if found is not None:
        return int(found[0])
    check_name("user_key", key)
    session.run(
        "insert into users (namespace_no, user_id, key, created_at) values (?, ?, ?, ?)",
        (namespace, uuid4().bytes, key, session.now),
    )
    return session.conn.last_insert_rowid()


def thread_no(session: Session, namespace: int, key: str | None) -> int | None:
    """The number of a thread that takes new memories, registered on first use; None for no thread.

    Raises BadArgument, ThreadClosed.
    """
    if key is None:
        return None
    found = session.one("select thread_no, closed_at from threads where namespace_no = ? and key = ?", (namespace, key))
    if found is None:
        check_name("thread", key)
        session.run(
            "insert into threads (namespace_no, thread_id, key, created_at) values (?, ?, ?, ?)",
            (namespace, uuid4().bytes, key, values.clock()),
        )
        return session.conn.last_insert_rowid()
    number, closed = found
    if closed is not None:
        raise ThreadClosed(
            f"thread {quoted(key)} is closed since {values.to_time(closed)}",
            hint="Write to another thread, or reopen it: ensure_thread(namespace, key, reopen=True).",
        )
    return int(number)


@function("write")
def ensure_user(
    session: Session, namespace: str, key: str, display_name: str | None = None, metadata: str | None = None
) -> list[Row]:
    """Register a user, or update what is given; the user's id."""
    arguments = {
        "namespace": namespace_no(session, namespace),
        "key": _name(key),
        "id": uuid4().bytes,
        "display_name": display_name,
        "metadata": None if metadata is None else metadata_text(metadata),
        "now": session.now,
    }
    found = session.value(
        """
        insert into users (namespace_no, user_id, key, display_name, metadata, created_at)
        values (:namespace, :id, :key, :display_name, jsonb(coalesce(:metadata, '{}')), :now)
        on conflict (namespace_no, key) do update
            set display_name = coalesce(excluded.display_name, display_name),
                metadata = iif(:metadata is null, metadata, excluded.metadata)
        returning user_id
        """,
        arguments,
    )
    return one_value("ensure_user", values.to_uuid(found))


@function("write")
def ensure_thread(
    session: Session,
    namespace: str,
    key: str,
    title: str | None = None,
    metadata: str | None = None,
    reopen: bool = False,
) -> list[Row]:
    """Register a thread, or update what is given; the thread's id."""
    arguments = {
        "namespace": namespace_no(session, namespace),
        "key": _name(key),
        "id": uuid4().bytes,
        "title": title,
        "metadata": None if metadata is None else metadata_text(metadata),
        "reopen": reopen,
        "now": values.clock(),
    }
    found = session.value(
        """
        insert into threads (namespace_no, thread_id, key, title, metadata, created_at)
        values (:namespace, :id, :key, :title, jsonb(coalesce(:metadata, '{}')), :now)
        on conflict (namespace_no, key) do update
            set title = coalesce(excluded.title, title),
                metadata = iif(:metadata is null, metadata, excluded.metadata),
                closed_at = iif(:reopen, null, closed_at)
        returning thread_id
        """,
        arguments,
    )
    return one_value("ensure_thread", values.to_uuid(found))


@function("write")
def close_thread(session: Session, namespace: str, key: str) -> list[Row]:
    """From now on a thread takes no new memories; since when."""
    namespace_segments(namespace)
    closed = session.value(
        """
        update threads set closed_at = coalesce(closed_at, ?)
        where namespace_no = (select n.namespace_no from namespaces n where n.path = ?) and key = ?
        returning closed_at
        """,
        (session.now, namespace, key),
    )
    if closed is None:
        raise NotFound(f"there is no thread {quoted(key)} in namespace {quoted(namespace)}", hint="See list_threads().")
    return one_value("close_thread", values.to_time(closed))


@function("read")
def list_threads(session: Session, scope: str, page_size: int = 100, after: str | None = None) -> list[Row]:
    """One page of the threads in a scope, newest first."""
    conditions = ["n.deleted_at is null"]
    arguments: dict[str, Any] = {"page_size": page_size}
    if scope != "*":
        namespace_segments(scope)
        conditions.append(BELOW)
        arguments["scope"] = scope
    check_page(page_size)
    place = read_cursor(after)
    if place is not None:
        conditions.append("(t.created_at, t.thread_id) < (:at, :id)")
        arguments["at"], arguments["id"] = place
    rows = session.all(
        f"""
        select n.path, t.key, t.title, json(t.metadata), t.created_at, t.closed_at, t.thread_id
        from threads t join namespaces n on n.namespace_no = t.namespace_no
        where {" and ".join(conditions)}
        order by t.created_at desc, t.thread_id desc
        limit :page_size
        """,
        arguments,
    )
    return [
        {
            "namespace": path,
            "thread": key,
            "title": title,
            "metadata": values.to_json(metadata),
            "created_at": values.to_time(created),
            "closed_at": values.to_time(closed),
            "cursor": write_cursor(created, thread_id),
        }
        for path, key, title, metadata, created, closed, thread_id in rows
    ]


def _name(key: str | None) -> str | None:
    check_name("key", key)
    return key
