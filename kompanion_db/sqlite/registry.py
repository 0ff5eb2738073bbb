"""The functions of this engine by name, as ``requests.Call`` names them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..requests import Row

Body = Callable[..., list[Row]]


@dataclass(frozen=True)
class Function:
    """A function: what it is run in (``read``, ``write``: a transaction; ``own``: it begins its own), and its body.

    ``takes`` has its arguments by name, without the session.
    """

    name: str
    runs: str
    body: Body
    takes: tuple[inspect.Parameter, ...]


_functions: dict[str, Function] = {}


def function(runs: str, takes: Callable[..., Any] | None = None) -> Callable[[Body], Body]:
    """Make a Python function the mirror of the SQL function of its name: ``(session, **arguments) -> rows``.

    Its rows have the columns of the SQL function; a function that returns one value gives one row of one column.
    A body that hands its arguments on to another function says to which: ``takes``.
    """

    def keep(body: Body) -> Body:
        arguments = tuple(p for p in inspect.signature(takes or body).parameters.values() if p.name != "session")
        _functions[body.__name__] = Function(body.__name__, runs, body, arguments)
        return body

    return keep


@cache
def functions() -> dict[str, Function]:
    """All functions by name."""
    from . import functions as package

    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return _functions


def one_value(name: str, value: Any) -> list[Row]:
    """The answer of a function that returns one value."""
    return [{name: value}]
