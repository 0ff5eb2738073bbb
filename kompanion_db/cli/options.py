"""The options that several commands share, and how their texts are read."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

UrlOption = Annotated[
    str | None,
    typer.Option("--url", "-u", metavar="URL", help="The database; default: environment KOMPANION_DB_URL."),
]
UrlArgument = Annotated[
    str | None,
    typer.Argument(metavar="URL", help="The database, as --url.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document a line, for programs.")]
EmbedderOption = Annotated[
    str | None,
    typer.Option(
        "--embedder",
        "-e",
        metavar="EMBEDDER",
        help="hash, hash:DIM, openai:MODEL@BASE_URL (key from OPENAI_API_KEY) or none. Default: hash, where that is "
        "the default model of the database.",
    ),
]
ScopeArgument = Annotated[str, typer.Argument(help="A namespace with all below it, or '*' for everything.")]
NamespaceArgument = Annotated[str, typer.Argument(help="The namespace, such as project:user:thread.")]
KeyArgument = Annotated[str, typer.Argument(help="The key of the item in its namespace.")]
ModelOption = Annotated[str | None, typer.Option("--model", "-m", help="The embedding model; default: the database's.")]
ThreadOption = Annotated[str | None, typer.Option("--thread", help="The thread.")]
TagsAnyOption = Annotated[list[str] | None, typer.Option("--tag-any", help="With any of these tags; repeat it.")]
TagsAllOption = Annotated[list[str] | None, typer.Option("--tag", help="With all of these tags; repeat it.")]
TagsNoneOption = Annotated[list[str] | None, typer.Option("--tag-none", help="With none of these tags; repeat it.")]
FilterOption = Annotated[
    str | None,
    typer.Option("--filter", "-f", metavar="JSON", help='On the metadata, such as \'{"n": {"$gte": 3}}\'.'),
]
ActorOption = Annotated[str | None, typer.Option("--actor", help="Who does it, for the history.")]
TtlOption = Annotated[
    str | None, typer.Option("--ttl", metavar="DURATION", help="Time to live: 30s, 15m, 12h, 7d or 2w.")
]
ExpiresOption = Annotated[
    str | None, typer.Option("--expires-at", metavar="TIME", help="When it expires, as 2030-01-31T12:00:00Z.")
]
ExpectedOption = Annotated[
    int | None,
    typer.Option("--expected-revision", metavar="N", help="Only when this is its revision; 0: must not exist."),
]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def usage_error(option: str, message: str) -> Exception:
    """The error for an option that cannot be read; exit code 2."""
    return typer.BadParameter(message, param_hint=option)


def duration(option: str, text: str | None) -> timedelta | None:
    """``30s``, ``15m``, ``12h``, ``7d``, ``2w``, or several of them together, as a timedelta."""
    if text is None:
        return None
    if not re.fullmatch(r"(\d+(\.\d+)?[smhdw])+", text):
        raise usage_error(option, f"{text!r} is no duration: use 30s, 15m, 12h, 7d or 2w.")
    try:
        return sum(
            (timedelta(**{_UNITS[u]: float(n)}) for n, _, u in re.findall(r"(\d+(\.\d+)?)([smhdw])", text)),
            timedelta(),
        )
    except OverflowError:
        raise usage_error(option, f"{text!r} is too long.") from None


def moment(option: str, text: str | None) -> datetime | None:
    """An ISO 8601 time with its zone as a datetime."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
    except ValueError:
        raise usage_error(option, f"{text!r} is no time: use 2030-01-31T12:00:00Z.") from None
    if at.tzinfo is None:
        raise usage_error(option, f"{text!r} has no time zone: put Z or an offset such as +02:00 at its end.")
    return at


def json_value(option: str, text: str | None, kind: type) -> Any:
    """JSON text as a ``dict`` or ``list``."""
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise usage_error(option, f"not JSON: {exc}") from None
    if not isinstance(value, kind):
        raise usage_error(option, f"is no JSON {'object' if kind is dict else 'list'}.")
    return value
