"""A table-valued function of SQL: an eponymous virtual table whose hidden columns are the arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import apsw

Value = str | int | float | bytes | None
"""What SQLite has in a column."""

Row = Sequence[Value]
Body = Callable[[dict[str, Value]], Sequence[Row]]


@dataclass(frozen=True)
class TableFunction:
    """A module of SQLite: rows of ``columns``, made by ``body`` from the arguments that are given.

    ``direct``: only for statements, not for views and triggers, so that to look at a strange file runs nothing.
    """

    columns: Sequence[str]
    arguments: Sequence[str]
    body: Body
    direct: bool

    def register(self, conn: apsw.Connection, name: str) -> None:
        """Let ``select * from name(...)`` be this, on one connection."""
        module: Any = self  # its stub asks for methods that an eponymous table has not
        conn.create_module(name, module, use_bestindex_object=True, eponymous=True, eponymous_only=True, read_only=True)

    def Connect(
        self, conn: apsw.Connection, modulename: str, dbname: str, tablename: str, *args: Value
    ) -> tuple[str, _Table]:
        """Declare the table."""
        if self.direct:
            conn.vtab_config(apsw.SQLITE_VTAB_DIRECTONLY)
        columns = [f'"{name}"' for name in self.columns] + [f'"{name}" hidden' for name in self.arguments]
        return f"create table declared ({', '.join(columns)})", _Table(self)


class _Table:
    def __init__(self, function: TableFunction) -> None:
        self._function = function

    def BestIndexObject(self, plan: apsw.IndexInfo) -> bool:
        """Take every ``argument = value`` there is; a plan that could not give one of them yet is none."""
        taken: list[str] = []
        for n in range(plan.nConstraint):
            if plan.get_aConstraint_op(n) != apsw.SQLITE_INDEX_CONSTRAINT_EQ:
                continue
            number = plan.get_aConstraint_iColumn(n) - len(self._function.columns)
            if number < 0:
                continue
            name = self._function.arguments[number]
            if not plan.get_aConstraint_usable(n) or name in taken:
                return False
            taken.append(name)
            plan.set_aConstraintUsage_argvIndex(n, len(taken))
            plan.set_aConstraintUsage_omit(n, True)
        plan.idxStr = ",".join(taken)
        plan.estimatedCost = 1000.0
        plan.estimatedRows = 100
        return True

    def Open(self) -> _Cursor:
        return _Cursor(self._function)

    def Disconnect(self) -> None:
        pass

    Destroy = Disconnect


class _Cursor:
    def __init__(self, function: TableFunction) -> None:
        self._function = function
        self._rows: Sequence[Row] = ()
        self._given: dict[str, Value] = {}
        self._at = 0

    def Filter(self, number: int, names: str | None, values: tuple[Value, ...]) -> None:
        """Call the function."""
        self._given = dict(zip(names.split(",") if names else (), values, strict=True))
        self._rows = self._function.body(self._given)
        self._at = 0

    def Eof(self) -> bool:
        return self._at >= len(self._rows)

    def Next(self) -> None:
        self._at += 1

    def Rowid(self) -> int:
        return self._at

    def Column(self, number: int) -> Value:
        if number < 0:
            return self._at
        columns = len(self._function.columns)
        if number < columns:
            return self._rows[self._at][number]
        return self._given.get(self._function.arguments[number - columns])

    def Close(self) -> None:
        self._rows = ()
