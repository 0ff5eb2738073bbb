"""Where a store is: ``sqlite:///file.db`` and the folder of vectors beside it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote

from .. import arguments as check
from ..errors import BadArgument
from ..sidecar.durable import FOLDER
from ..urls import redact

SCHEME = "sqlite:"
_SYNCHRONOUS = ("full", "normal")

# What ``place_of`` would read as something else, and spaces; the rest stays readable.
_QUOTED = re.compile(r"[%?\s]")


@dataclass(frozen=True)
class Place:
    """The database file; ``synchronous`` is full (a commit survives a power cut) or normal (a crash).

    ``path`` becomes absolute and free of symbolic links, as SQLite names the log: the folder goes with the file, not
    with a link to it.
    """

    path: Path
    synchronous: str = "full"

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(os.path.realpath(self.path)))

    @property
    def folder(self) -> Path:
        """The folder of its vector files."""
        return self.path.with_name(self.path.name + FOLDER)

    @property
    def url(self) -> str:
        """The URL that names it, and no other: ``place_of`` gives this place."""
        name = _QUOTED.sub(lambda found: quote(found[0]), str(self.path))
        return f"sqlite:///{name}" + ("" if self.synchronous == "full" else f"?synchronous={self.synchronous}")


def is_sqlite(url: str) -> bool:
    """Whether the URL names a SQLite store. Raises BadArgument for what is no text."""
    if not isinstance(url, str):
        raise BadArgument(
            f"url: is {type(url).__name__}, not text",
            hint="Give a str, such as sqlite:///notes.db or postgresql://user@host/database.",
        )
    check.text("url", url)
    return url.strip().lower().startswith(SCHEME)


def place_of(url: str) -> Place:
    """The place a URL names: three slashes and a path from here, four and an absolute one. Raises BadArgument."""
    text = url.strip()[len(SCHEME) :]
    hint = "sqlite:///notes.db is a file in this folder, sqlite:////var/lib/notes.db one by its full path."
    if not text.startswith("///"):
        raise BadArgument(f"url: no file is named by {redact(url.strip())}", hint=hint)
    name, _, query = text[3:].partition("?")
    name = unquote(name)
    if not name or name.endswith("/") or "\0" in name:
        raise BadArgument(f"url: no file is named by {redact(url.strip())}", hint=hint)
    if name.startswith(":memory:") or "mode=memory" in query:
        raise BadArgument(
            "url: a store is a file and a folder; it cannot be in memory", hint="Use a file in a temporary folder."
        )
    synchronous = "full"
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key != "synchronous" or value.lower() not in _SYNCHRONOUS:
            raise BadArgument(
                f"url: unknown option {key}={value}", hint="The one option is synchronous=full or normal."
            )
        synchronous = value.lower()
    try:
        return Place(Path(name).expanduser(), synchronous)
    except RuntimeError:  # of ~somebody, who has no home here
        raise BadArgument(f"url: no file is named by {redact(url.strip())}", hint=hint) from None
