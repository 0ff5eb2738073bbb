"""What a DBA does to the tables of a store past its functions, in words that are the same on each engine."""

from __future__ import annotations

import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import apsw
import psycopg
import samples
from psycopg.types.json import Jsonb

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def an_hour_ago() -> datetime:
    """A moment that is past."""
    return datetime.now(timezone.utc) - timedelta(hours=1)


class ByHand(ABC):
    """A connection of another program. Tables, and columns but ids of the file alone, have the same names everywhere.

    ``where`` names columns; ``namespace``, a path, and ``thread``, a key of an item's namespace, stand for the ids of them.
    """

    @abstractmethod
    def update(self, table: str, where: dict[str, Any] | None = None, /, **changes: Any) -> None:
        """A plain UPDATE of the rows that match."""

    @abstractmethod
    def delete(self, table: str, /, **where: Any) -> None:
        """A plain DELETE of the rows that match."""

    @abstractmethod
    def rows(self, relation: str, *columns: str) -> list[tuple[Any, ...]]:
        """What a table or view holds, in no order."""

    def count(self, table: str) -> int:
        """How many rows a table has."""
        return len(self.rows(table, "1"))

    @abstractmethod
    def set_setting(self, name: str, value: Any) -> None:
        """Call ``set_setting``; durations are given as timedelta."""

    @abstractmethod
    def below(self, view: str, scope: str) -> set[str]:
        """The namespaces that a live view shows in a scope."""

    @abstractmethod
    def out_of_step(self) -> int:
        """How many vectors carry on their row what their item no longer says."""

    @abstractmethod
    def objects(self) -> list[Any]:
        """All tables, indexes, triggers and functions, save the indexes of metadata keys."""

    @abstractmethod
    def contents(self) -> dict[str, list[str]]:
        """Every row of every table as text, save where vectors lie, which moves by itself."""


class PostgresByHand(ByHand):
    """With psql, as it were."""

    def __init__(self, conn: psycopg.Connection[Any]) -> None:
        self.conn = conn

    def update(self, table: str, where: dict[str, Any] | None = None, /, **changes: Any) -> None:
        found, values = self._named(where or {}, " and ")
        sets, new = self._named(changes, ", ")
        self.conn.execute(f"update kompanion.{table} set {sets} where {found or 'true'}", (*new, *values))

    def delete(self, table: str, /, **where: Any) -> None:
        found, values = self._named(where, " and ")
        self.conn.execute(f"delete from kompanion.{table} where {found or 'true'}", values)

    @staticmethod
    def _named(columns: dict[str, Any], between: str) -> tuple[str, list[Any]]:
        """``column = %s`` for each, and the values."""
        forms = {
            "namespace": "namespace_id = kompanion.namespace_id(%s)",
            "thread": "thread_id = (select t.thread_id from kompanion.threads t"
            " where t.namespace_id = memory_items.namespace_id and t.key = %s)",
        }
        found = between.join(forms.get(name, f"{name} = %s") for name in columns)
        return found, [Jsonb(value) if isinstance(value, dict) else value for value in columns.values()]

    def rows(self, relation: str, *columns: str) -> list[tuple[Any, ...]]:
        return self.conn.execute(f"select {', '.join(columns)} from kompanion.{relation}").fetchall()

    def set_setting(self, name: str, value: Any) -> None:
        if isinstance(value, timedelta):
            value = f"{value.days} days {(value % timedelta(days=1)).total_seconds()} seconds"
        self.conn.execute("select kompanion.set_setting(%s, %s)", (name, Jsonb(value)))

    def below(self, view: str, scope: str) -> set[str]:
        segments = scope.split(":")
        found = self.conn.execute(
            f"""select distinct namespace from kompanion.{view} where namespace_id in
                (select n.namespace_id from kompanion.live_namespaces n where n.segments[1:%s] = %s)""",
            (len(segments), segments),
        )
        return {path for (path,) in found}

    def out_of_step(self) -> int:
        found = self.conn.execute(
            """select count(*) from kompanion.embeddings e join kompanion.memory_items i using (namespace_id, item_id)
               where (e.tags, e.thread_id, e.expires_at, e.deleted_at)
                     is distinct from (i.tags, i.thread_id, i.expires_at, i.deleted_at)"""
        ).fetchone()
        return int(found[0]) if found else 0

    def objects(self) -> list[Any]:
        return self.conn.execute(
            """select (select array_agg(c.relname order by 1) from pg_class c
                       where c.relnamespace in ('kompanion'::regnamespace, 'public'::regnamespace)
                         and c.relname !~ '^memory_items_metadata_(text|number)_'),
                      (select array_agg(p.oid order by 1) from pg_proc p
                       where p.pronamespace = 'kompanion'::regnamespace),
                      (select count(*) from pg_namespace where nspname !~ '^pg_'),
                      (select array_agg(rolname order by 1) from pg_roles
                       where rolname in ('kompanion_reader', 'kompanion_writer', 'kompanion_admin'))"""
        ).fetchall()

    def contents(self) -> dict[str, list[str]]:
        return samples.contents(self.conn)


class SqliteByHand(ByHand):
    """With the connection of ``open_sql``, on which SQL can do what psql does."""

    JSON = frozenset({"metadata", "tags", "calibration", "index_choice"})

    def __init__(self, conn: apsw.Connection) -> None:
        self.conn = conn

    def update(self, table: str, where: dict[str, Any] | None = None, /, **changes: Any) -> None:
        found, values = self._named(where or {}, " and ")
        sets, new = self._named(changes, ", ")
        self.conn.execute(f"update {table} set {sets} where {found or 'true'}", (*new, *values))

    def delete(self, table: str, /, **where: Any) -> None:
        found, values = self._named(where, " and ")
        self.conn.execute(f"delete from {table} where {found or 'true'}", values)

    @classmethod
    def _named(cls, columns: dict[str, Any], between: str) -> tuple[str, list[Any]]:
        """``column = ?`` for each, and the values in SQLite's forms."""
        forms = {
            "namespace": "namespace_no = (select n.namespace_no from namespaces n where n.path = ?)",
            "thread": "thread_no = (select t.thread_no from threads t"
            " where t.namespace_no = memory_items.namespace_no and t.key = ?)",
        } | {name: f"{name} = jsonb(?)" for name in cls.JSON}
        found = between.join(forms.get(name, f"{name} = ?") for name in columns)
        return found, [cls._value(value) for value in columns.values()]

    @staticmethod
    def _value(value: Any) -> Any:
        if isinstance(value, datetime):
            return (value - EPOCH) // timedelta(microseconds=1)
        if isinstance(value, dict | list):
            return json.dumps(value)
        return value.bytes if isinstance(value, uuid.UUID) else value

    def rows(self, relation: str, *columns: str) -> list[tuple[Any, ...]]:
        shown = ", ".join(f"json({name})" if name in self.JSON else name for name in columns)
        as_read: list[Callable[[Any], Any]] = [_json if name in self.JSON else _as_it_is for name in columns]
        rows = self.conn.execute(f"select {shown} from {relation}")
        return [tuple(read(value) for read, value in zip(as_read, row, strict=True)) for row in rows]

    def set_setting(self, name: str, value: Any) -> None:
        if isinstance(value, timedelta):
            value = value.total_seconds()
        self.conn.execute("select * from set_setting(?, ?)", (name, json.dumps(value))).fetchall()

    def below(self, view: str, scope: str) -> set[str]:
        found = self.conn.execute(
            f"select distinct namespace from {view} where substr(namespace || ':', 1, length(:s) + 1) = :s || ':'",
            {"s": scope},
        )
        return {path for (path,) in found}

    def out_of_step(self) -> int:
        (found,) = self.conn.execute(
            """select count(*) from embeddings e join memory_items i on i.item_no = e.item_no
               where (e.thread_no, e.expires_at, e.deleted_at) is not (i.thread_no, i.expires_at, i.deleted_at)"""
        ).fetchone()
        return int(found)

    def objects(self) -> list[Any]:
        return self.conn.execute(
            "select type, name, sql from sqlite_schema where name not like 'memory_items_metadata_%' order by 1, 2"
        ).fetchall()

    def contents(self) -> dict[str, list[str]]:
        tables = self.conn.execute(
            "select name from sqlite_schema where type = 'table' and name not like 'sqlite_%' and name not like 'vec_%'"
        ).fetchall()
        return {name: sorted(map(str, self.conn.execute(f"select * from {name}"))) for (name,) in tables}


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _as_it_is(value: Any) -> Any:
    return value
