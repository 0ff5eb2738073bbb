"""What an operator may tune, as in pg_0004_scopes. Durations are seconds here."""

from __future__ import annotations

import json
from typing import Any

from ...errors import BadArgument
from ...requests import Row
from ..registry import function, one_value
from ..session import Session
from .checks import dumped, quoted

_LONGEST = 1000 * 365.25 * 86400


@function("read")
def setting(session: Session, name: str) -> list[Row]:
    """The value of a setting; an unknown name is refused."""
    return one_value("setting", session.setting(name))


@function("write")
def set_setting(session: Session, name: str, value: str | None) -> list[Row]:
    """Change a setting, to a JSON value of its kind; the former value."""
    former = session.setting(name)
    try:
        given = json.loads(value or "")
        good = _fits(name, given)
    except (ValueError, RecursionError):
        given, good = None, False
    if not good:
        raise BadArgument(
            f"value: {'NULL' if value is None else value[:200]} is no value for setting {quoted(name)}",
            hint=session.value("select description from settings where name = ?", (name,)),
        )
    if isinstance(given, float) and name != "target_recall":
        # A server has no shorter durations than a microsecond: unrounded, one could not be copied there and be equal.
        whole = round(given * 1e6) / 1e6
        value = value if whole == given else dumped(whole)
    session.run("update settings set value = jsonb(?), updated_at = ? where name = ?", (value, session.now, name))
    return one_value("set_setting", former)


def _fits(name: str, value: Any) -> bool:
    if name == "indexed_metadata":
        return isinstance(value, dict)
    if name == "retention_revisions" and value is None:
        return True
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if name == "target_recall":
        return 0.01 <= value <= 1
    if name in ("exact_threshold", "index_min_rows"):
        return isinstance(value, int) and 1 <= value <= 1_000_000_000
    return 0 <= value <= _LONGEST
