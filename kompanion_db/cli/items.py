"""put, get, history, list, delete, restore: single items."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from ..chunking import chunk_text
from ..errors import BadArgument
from ..types import Item, Revision, WriteResult
from .app import app
from .options import (
    ActorOption,
    EmbedderOption,
    ExpectedOption,
    ExpiresOption,
    FilterOption,
    JsonOption,
    KeyArgument,
    NamespaceArgument,
    ScopeArgument,
    TagsAllOption,
    TagsAnyOption,
    TagsNoneOption,
    ThreadOption,
    TtlOption,
    UrlOption,
    duration,
    json_value,
    moment,
    usage_error,
)
from .output import clean, console, note, print_json, print_table, shown
from .run import error_lines
from .stores import open_store, open_text_store

NOT_FOUND = 3


@app.command()
def put(
    namespace: NamespaceArgument,
    key: KeyArgument,
    content: Annotated[
        str | None, typer.Argument(help="The text; left out, or '-': read from stdin.", show_default=False)
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Read the text from this file.")] = None,
    metadata: Annotated[str | None, typer.Option("--metadata", metavar="JSON", help="A JSON object.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", "-t", help="A tag; repeat it.")] = None,
    thread: ThreadOption = None,
    user: Annotated[str | None, typer.Option("--user", help="The key of the user it is about.")] = None,
    ttl: TtlOption = None,
    expires_at: ExpiresOption = None,
    expected_revision: ExpectedOption = None,
    actor: ActorOption = None,
    embedder: EmbedderOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write an item whole: what is left out is empty, not kept. The last line break of a file or stdin is dropped.

    With --embedder none it is stored without vectors; "embed" makes them later.
    """
    if content is not None and file is not None:
        raise usage_error("--file", "the text is given twice, as an argument and with --file.")
    values: dict[str, Any] = {
        "metadata": json_value("--metadata", metadata, dict),
        "tags": tag or [],
        "thread": thread,
        "user_key": user,
        "ttl": duration("--ttl", ttl),
        "expires_at": moment("--expires-at", expires_at),
        "expected_revision": expected_revision,
        "actor": actor,
    }
    text = content if content not in (None, "-") else _read(file)
    with open_text_store(url, embedder) as store:
        if store.context.embedder is None:
            values["chunks"] = chunk_text(text)
        result = store.upsert_item(namespace, key, text, **values)
    _print_result(namespace, key, result, as_json)


def _read(file: Path | None) -> str:
    data = file.read_bytes() if file else sys.stdin.buffer.read()
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as exc:
        raise BadArgument(
            f"content: {file or 'stdin'} is not UTF-8 text at byte {exc.start}",
            hint="Convert it first, for example with iconv.",
        ) from None


@app.command()
def get(
    namespace: NamespaceArgument,
    key: KeyArgument,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="As it was at that time.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Print the content and nothing else.")] = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read one live item; exit code 3 when there is none."""
    when = moment("--at", at)
    with open_store(url) as store:
        item: Item | Revision | None
        item = store.get_item(namespace, key) if when is None else store.item_as_of(namespace, key, when)
    if item is None:
        _not_found(
            f"there is no live item {key!r} in {namespace!r}" + (f" at {at}" if at else ""),
            f"It may be deleted or expired: kompanion-db history {namespace} {key}",
        )
    elif as_json:
        print_json([item])
    elif raw:
        sys.stdout.write(item.content)
    else:
        _print_item(namespace, key, item)


def _print_item(namespace: str, key: str, item: Item | Revision) -> None:
    screen = console()
    screen.print(Text(clean(f"{namespace} / {key}"), style="bold"))
    names = ("revision", "updated_at", "created_at", "expires_at", "thread", "user_key", "actor", "tags", "metadata")
    for name in names:
        value = shown(getattr(item, name, None))
        if value:
            screen.print(Text(clean(f"{name.removesuffix('_at').removesuffix('_key'):>9}  {value}"), style="dim"))
    screen.print()
    screen.print(Text(clean(item.content)))


def _not_found(message: str, hint: str) -> None:
    for line in error_lines(f"{message} (KM003)", hint):
        print(line, file=sys.stderr)
    raise typer.Exit(NOT_FOUND)


@app.command()
def history(namespace: NamespaceArgument, key: KeyArgument, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Show every kept revision of an item, also of a deleted one; exit code 3 when it never was."""
    with open_store(url) as store:
        rows = store.item_history(namespace, key)
    if not rows:
        _not_found(f"there never was an item {key!r} in {namespace!r}", f"See: kompanion-db list {namespace}")
    elif as_json:
        print_json(rows)
    else:
        print_table(
            ["revision", "since", "until", "by", "state", "content"],
            [[r.revision, r.updated_at, r.superseded_at or "now", r.actor, _state(r), r.content] for r in rows],
            wide="content",
        )


def _state(row: Revision) -> str:
    if row.deleted_at:
        return "deleted"
    return f"expires {shown(row.expires_at)}" if row.expires_at else "live"


@app.command("list")
def list_items(
    scope: ScopeArgument = "*",
    filter: FilterOption = None,
    tags_any: TagsAnyOption = None,
    tags_all: TagsAllOption = None,
    tags_none: TagsNoneOption = None,
    thread: ThreadOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most this many.")] = 50,
    after: Annotated[str | None, typer.Option("--after", help="The cursor of the last one before.")] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the live items of a scope, newest first."""
    asked: dict[str, Any] = {
        "filter": json_value("--filter", filter, dict),
        "tags_any": tags_any or None,
        "tags_all": tags_all or None,
        "tags_none": tags_none or None,
        "thread": thread,
        "page_size": limit,
        "after": after,
    }
    with open_store(url) as store:
        rows = store.list_items(scope, **asked)
    if as_json:
        print_json(rows)
    else:
        print_table(
            ["created", "namespace", "key", "revision", "content"],
            [[r.created_at, r.namespace, r.key, r.revision, r.content] for r in rows],
            wide="content",
        )
        if len(rows) == limit:
            note(f"There may be more: --after {rows[-1].cursor}")


@app.command()
def delete(
    namespace: NamespaceArgument,
    key: KeyArgument,
    expected_revision: ExpectedOption = None,
    actor: ActorOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete an item; "restore" brings it back until "purge" removes it."""
    with open_store(url) as store:
        result = store.delete_item(namespace, key, expected_revision=expected_revision, actor=actor)
    _print_result(namespace, key, result, as_json)


@app.command()
def restore(
    namespace: NamespaceArgument,
    key: KeyArgument,
    ttl: TtlOption = None,
    expires_at: ExpiresOption = None,
    actor: ActorOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring back a deleted or expired item."""
    life, end = duration("--ttl", ttl), moment("--expires-at", expires_at)
    with open_store(url) as store:
        result = store.restore_item(namespace, key, ttl=life, expires_at=end, actor=actor)
    _print_result(namespace, key, result, as_json)


def _print_result(namespace: str, key: str, result: WriteResult, as_json: bool) -> None:
    if as_json:
        print_json([result])
    else:
        print(clean(f"{result.status} {namespace} / {key} (revision {result.revision})"))
