"""From the options to an open store, with the embedder that its default model asks for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import typer

from .. import embedded
from ..arguments import MAX_DIM
from ..connecting import connect
from ..embedders import Embedder, HashEmbedder, OpenAIEmbedder
from ..errors import BadArgument
from ..sqlite.files import is_sqlite
from ..store import Store
from .options import usage_error
from .run import stop_on_sigterm

URL_VAR = "KOMPANION_DB_URL"


def chosen_url(option: str | None, argument: str | None = None) -> str:
    """The database that was named: on the command line, else in the environment."""
    if option and argument:
        raise usage_error("URL", "the database is named twice, as an argument and with --url.")
    url = argument or option or os.environ.get(URL_VAR)
    if not url:
        raise typer.BadParameter(
            f"no database is named: give postgresql://..., embedded:FOLDER or sqlite:///FILE, or set {URL_VAR}.",
            param_hint="--url",
        )
    return url


@contextmanager
def plain_url(url: str) -> Iterator[tuple[str, embedded.EmbeddedServer | None]]:
    """The ``postgresql://`` form of a URL, and the embedded server behind it for as long as the block lasts."""
    folder = embedded.folder_of(url)
    if folder is None:
        yield url, None
        return
    stop_on_sigterm()
    with embedded.start(folder) as server:
        yield server.url(), server


@contextmanager
def open_store(option: str | None, *, make: bool = False) -> Iterator[Store]:
    """A store without an embedder, on the database that was named.

    Only with ``make`` a SQLite file is made that is not there: a name misspelt is not an empty store.
    """
    url = chosen_url(option)
    if embedded.folder_of(url) is not None:
        stop_on_sigterm()
    # No prepared statements: a pooler in transaction mode may be between, and a command has no time to gain by them.
    with connect(url, max_size=2, prepare=False, migrate=None if make or not is_sqlite(url) else False) as store:
        yield store


@contextmanager
def open_text_store(option: str | None, embedder: str | None) -> Iterator[Store]:
    """A store with the embedder that was named, or that fits the database's default model."""
    with ExitStack() as stack:
        store = stack.enter_context(open_store(option, make=True))
        found = chosen_embedder(stack, store, embedder)
        yield (
            store
            if found is None
            else stack.enter_context(connect(store.url, embedder=found, max_size=2, prepare=False))
        )


def chosen_embedder(stack: ExitStack, store: Store, given: str | None) -> Embedder | None:
    """The embedder named by ``given``; without one, a HashEmbedder when the default model is (or can become) its own.

    Vectors of another model would not be comparable, and only the caller knows where that model runs.
    """
    if given is not None:
        return make_embedder(stack, given)
    default = next((m for m in store.list_models() if m.is_default), None)
    fitting = HashEmbedder() if default is None else hash_embedder(default.model)
    if fitting is None and default is not None:
        raise BadArgument(
            f"embedder: the default model of this database is {default.model}, and nothing here says who runs it",
            hint=f"Name it: --embedder openai:{default.model}@http://localhost:11434/v1, "
            "or take another: --embedder hash.",
        )
    return fitting


def hash_embedder(model: str) -> HashEmbedder | None:
    """The HashEmbedder whose name this is; None for any other model."""
    found = re.fullmatch(r"hash-(\d{1,5})-v\d+", model)
    if found is None or not 1 <= int(found[1]) <= MAX_DIM:
        return None
    made = HashEmbedder(int(found[1]))
    return made if made.name == model else None


def make_embedder(stack: ExitStack, text: str) -> Embedder | None:
    """The embedder that ``text`` names, closed with ``stack``; None for ``none``."""
    if text == "none":
        return None
    kind, _, rest = text.partition(":")
    if kind == "hash" and (not rest or rest.isdecimal()):
        return HashEmbedder(int(rest)) if rest else HashEmbedder()
    named = re.fullmatch(r"(.+?)@(https?://.+)", rest)
    if kind == "openai" and named:
        return stack.enter_context(OpenAIEmbedder(named[2], named[1]))
    raise usage_error("--embedder", f"{text!r} is none of hash, hash:DIM, openai:MODEL@http://host:port/v1 and none.")


def need_embedder(found: Embedder | None, command: str) -> Any:
    """``found``; a usage error where a command cannot do without."""
    if found is None:
        raise usage_error("--embedder", f"{command} needs one.")
    return found
