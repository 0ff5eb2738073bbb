"""``select * from functions()``: what SQL can call on a connection, as ``\\df+`` tells in psql."""

from __future__ import annotations

import inspect
import json

from ..registry import Function, functions
from .columns import columns_of
from .values import READERS, kind_of

LISTING = ("name", "kind", "arguments", "returns", "description")

SCALARS = (
    ("namespace_id", "path text", "blob", "The id of a namespace: the first 16 bytes of SHA-256 of its path."),
    ("uuid_blob", "id text", "blob", "An id from its text form, as the tables have it."),
    ("uuid_str", "id blob", "text", "The text form of an id."),
    ("vec_get", "vec_id integer", "blob", "A vector as float32, little-endian; NULL when no row has it."),
)  # fmt: skip
"""Name, arguments, result and meaning of the scalar functions."""


def listed() -> list[tuple[str, ...]]:
    """A row for each function, by name."""
    rows = [(name, "scalar", *rest) for name, *rest in SCALARS]
    rows += [
        (name, "table", declaration(function), ", ".join(columns_of(name)), _description(function))
        for name, function in functions().items()
    ]
    rows.append(("functions", "table", "", ", ".join(LISTING), "What SQL can call here."))
    return sorted(rows)


def declaration(function: Function) -> str:
    """The arguments of a function in order, with type and default."""
    return ", ".join(map(_argument, function.takes))


def _argument(parameter: inspect.Parameter) -> str:
    default = "" if parameter.default is parameter.empty else f" default {_literal(parameter.default)}"
    return f"{parameter.name} {READERS[kind_of(parameter.annotation)][0]}{default}"


def _literal(value: object) -> str:
    if isinstance(value, str):
        return f"'{value}'"
    return json.dumps(value)  # null, true, numbers, arrays as SQL takes them


def _description(function: Function) -> str:
    return (inspect.getdoc(function.body) or "").split("\n\n")[0].replace("\n", " ").replace("``", "")
