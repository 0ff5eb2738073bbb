"""The demo: memories of three projects go in, scoped questions come back right, and nothing is lost on the way."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import embedded
from .cli.output import clean, progress, shown, table
from .cli.run import error_lines, one_line, state_of
from .connecting import connect
from .embedders import HashEmbedder
from .errors import BadArgument, KompanionError, RevisionConflict
from .migrate import status
from .sqlite.files import Place, is_sqlite
from .store import Store
from .types import Hit, Item
from .urls import redact

FOLDER = ".kompanion/demo"
K = 5
TIE = 1e-5  # engines add up in another order: distances closer than this are equal
BOLD, DIM, GOOD, BAD = "bold", "dim", "green", "bold red"

# The memory that is changed, and what it says afterwards.
NAMESPACE, KEY = "harbor", "spare-key-fuel-shed"
CHANGE = "Spare key for the fuel shed: Ruth has it since the biscuit tin went rusty. Ask her, and sign the card."


def memories() -> list[dict[str, Any]]:
    """The memories that come with the package, as arguments of upsert_item."""
    text = (resources.files(__package__) / "data" / "demo.ndjson").read_text(encoding="utf-8")
    items = [json.loads(row) for row in text.splitlines()]
    for item in items:
        item["user_key"] = item.pop("user")
        item["created_at"] = datetime.fromisoformat(item["created_at"])
    return items


def questions() -> list[dict[str, Any]]:
    """The questions, each with its scope, options, the keys that are expected and what it shows."""
    text = (resources.files(__package__) / "data" / "questions.json").read_text(encoding="utf-8")
    found: list[dict[str, Any]] = json.loads(text)
    return found


def run(url: str, out: Console) -> bool:
    """Run the demo on ``url`` and print it; whether every question found the memories it is about.

    Raises BadArgument when the database holds memories of somebody else, and what connect raises.
    """
    start = time.monotonic()
    out.width = min(out.width, 100)
    items = memories()
    _title(out, f"kompanion-db demo on {redact(url)}")
    # An empty database is migrated; one that somebody uses is not upgraded by the way.
    empty = url.startswith("embedded:") or not any(found.applied for found in status(url))
    with connect(url, migrate=empty) as store:
        _refuse_others(store, items)
        _say(out, ("SQLite" if is_sqlite(url) else "PostgreSQL") + " is up and the schema is there", start)
        # Only now: the embedder's model is queued for all chunks there are.
        with connect(store.url, embedder=HashEmbedder()) as text_store:
            _load(text_store, items, out)
            asked = questions()
            answers = [_ask(text_store, n, question, out) for n, question in enumerate(asked, 1)]
            _update(text_store, out)
            _refuse_stale(text_store, out)
            _expire(text_store, out)
            _restore(text_store, out)
    found = [not missed(question, hits) for question, hits in zip(asked, answers, strict=True)]
    folder = embedded.folder_of(url)
    file = None
    if folder is not None:
        place = embedded.placed(folder)  # as the server takes it: "." has no name
        file = place.with_name(place.name + ".db")
    same = file is None or _ask_sqlite(file, items, asked, answers, out)
    _title(out, "Summary")
    out.print(Text(f"{sum(found)} of {len(asked)} questions found their memories.", style=GOOD if all(found) else BAD))
    _say(out, "All of it", start)
    if file is not None:
        out.print(Text(f"The databases stay. Look around: kompanion-db psql {url}", style=DIM))
        out.print(Text(f"                              or: kompanion-db sql {Place(file).url}", style=DIM))
    return all(found) and same


def missed(question: dict[str, Any], hits: list[Hit]) -> list[str]:
    """The keys that a question is about and its answer has not."""
    return [key for key in question["expect"] if key not in {hit.key for hit in hits}]


def _refuse_others(store: Store, items: list[dict[str, Any]]) -> None:
    ours = {item["namespace"] for item in items}
    others = [n.namespace for n in store.list_namespaces("*", include_deleted=True) if n.namespace not in ours]
    if others:
        raise BadArgument(
            f"url: this database holds memories already, such as those of {others[0]}",
            hint="The demo wants a database of its own: create an empty one, or leave --url out.",
        )


def _load(store: Store, items: list[dict[str, Any]], out: Console) -> None:
    _title(out, "Load")
    start = time.monotonic()
    bar, task = progress("memories", len(items), out)
    with bar:
        done = store.upsert_items(items, batch_size=50, progress=lambda n: bar.update(task, completed=n))
    projects = {item["namespace"].split(":")[0] for item in items}
    out.print(
        f"{done.items} memories of {len(projects)} projects in {len({i['namespace'] for i in items})} namespaces: "
        f"{done.inserted} inserted, {done.revised} revised, {done.unchanged} unchanged."
    )
    _say(out, "Cut into chunks, embedded and stored", start)


def _ask(store: Store, number: int, question: dict[str, Any], out: Console) -> list[Hit]:
    scope, text, options = question["scope"], question["question"], question["options"]
    _title(out, f"{number}. {text}")
    asked = "".join(f"   {name} {shown(value)}" for name, value in options.items())
    out.print(Text(clean(f"scope {scope}{asked}"), style="cyan"))
    out.print(Text(clean(question["shows"]), style=DIM))
    hits = store.search(scope, text, K, **options)
    told = store.explain_search(scope, text, K, **options)
    out.print(_hits(hits, question["expect"]))
    path = f"path: {told['path']}, {told['matches']} chunks match"
    if told["matches_counted"] != "all":
        path = f"path: {told['path']}, more than {told['matches']} chunks match"
    missing = missed(question, hits)
    verdict = f"missed: {', '.join(missing)}" if missing else f"found: {', '.join(question['expect'])}"
    out.print(Text.assemble((f"{path}, {told['milliseconds']:.2f} ms   ", DIM), (verdict, BAD if missing else GOOD)))
    return hits


def _hits(hits: list[Hit], expected: list[str]) -> Table:
    columns = ["", "score", "who", "key", "text"]
    rows = [[hit.rank, hit.score, hit.namespace, hit.key, hit.chunk] for hit in hits]
    return table(columns, rows, wide="text", styles=[GOOD if hit.key in expected else "" for hit in hits])


def _ask_sqlite(
    file: Path, items: list[dict[str, Any]], asked: list[dict[str, Any]], answers: list[list[Hit]], out: Console
) -> bool:
    """Ask the same of a SQLite file with the same memories; whether it answers the same."""
    _title(out, "The same memories in a SQLite file, without a server, give the same answers")
    start = time.monotonic()
    rows = []
    with connect(Place(file).url, embedder=HashEmbedder()) as store:
        store.upsert_items(items)
        for question, expected in zip(asked, answers, strict=True):
            hits = store.search(question["scope"], question["question"], K, **question["options"])
            rows.append([question["question"], hits[0].key if hits else "", same_hits(hits, expected)])
    same = [row.pop() for row in rows]
    shown_rows = [[*row, "the same" if equal else "DIFFERENT"] for row, equal in zip(rows, same, strict=True)]
    columns = ["question", "best answer of SQLite", f"its {K} hits"]
    out.print(table(columns, shown_rows, wide="question", styles=["" if equal else BAD for equal in same]))
    verdict = f"{sum(same)} of {len(same)} questions are answered as by PostgreSQL: keys, order, scores, text."
    out.print(Text(verdict, style=GOOD if all(same) else BAD))
    _say(out, f"Loaded into {file} and asked", start)
    return all(same)


def same_hits(one: list[Hit], other: list[Hit]) -> bool:
    """Whether two engines answered alike: the same hits at the same distances to 1e-5; among equals any order."""

    def parts(hit: Hit) -> tuple[Any, ...]:
        return hit.namespace, hit.key, hit.chunk, hit.ordinal, hit.metadata, hit.tags, hit.thread

    return (
        len(one) == len(other)
        and all(abs(a.distance - b.distance) <= TIE for a, b in zip(one, other, strict=True))
        and all(any(parts(a) == parts(b) and abs(a.distance - b.distance) <= TIE for b in other) for a in one)
    )


def _update(store: Store, out: Console) -> None:
    _title(out, "An update makes a new revision, and the history keeps the former")
    before = _item(store)
    result = store.upsert_item(NAMESPACE, KEY, CHANGE, actor="ruth", **_rest(before))
    out.print(f"{NAMESPACE} / {KEY}: {result.status}, revision {before.revision} -> {result.revision}")
    rows = [
        [r.revision, r.updated_at, r.superseded_at or "now", r.actor, r.content]
        for r in store.item_history(NAMESPACE, KEY)
    ]
    out.print(table(["revision", "since", "until", "by", "content"], rows, wide="content"))


def _refuse_stale(store: Store, out: Console) -> None:
    _title(out, "A writer who has not seen that update is refused")
    now = _item(store)
    out.print(f"upsert_item(..., expected_revision={now.revision - 1})")
    try:
        store.upsert_item(NAMESPACE, KEY, "The key is in the tin.", expected_revision=now.revision - 1, actor="tomas")
    except RevisionConflict as exc:
        for text in error_lines(f"{one_line(exc)} ({state_of(exc)})", exc.hint):
            out.print(Text(text, style=BAD if text.startswith("error") else ""))
    else:
        raise KompanionError("a stale writer was not refused")
    out.print(f"Nothing was written: it is still at revision {_item(store).revision}.")


def _expire(store: Store, out: Console) -> None:
    _title(out, "A memory with a time to live of one second")
    key, question = "gate-code-today", "What is the gate code of the boatyard?"
    store.upsert_item(NAMESPACE, key, "The gate code of the boatyard is 4711 today.", ttl=timedelta(seconds=1))

    def look() -> tuple[bool, bool]:
        hits = store.search(NAMESPACE, question, K)
        return store.get_item(NAMESPACE, key) is not None, key in {hit.key for hit in hits}

    start = time.monotonic()
    before = look()
    while any(look()) and time.monotonic() < start + 10:
        time.sleep(0.05)
    after = look()
    names = {True: "there", False: "gone"}
    out.print(f"at once:        get {names[before[0]]}, search {names[before[1]]}")
    out.print(f"{time.monotonic() - start:4.1f} s later:    get {names[after[0]]}, search {names[after[1]]}")
    if any(after):
        raise KompanionError("an expired memory is still shown")


def _restore(store: Store, out: Console) -> None:
    _title(out, "A deleted memory comes back")
    for name, call in (("delete", store.delete_item), ("restore", store.restore_item)):
        result = call(NAMESPACE, KEY)
        shown_now = "there" if store.get_item(NAMESPACE, KEY) else "gone"
        out.print(f"{name}_item: {result.status}, revision {result.revision}; get {shown_now}")
    out.print(Text(clean(_item(store).content), style=DIM))


def _item(store: Store) -> Item:
    item = store.get_item(NAMESPACE, KEY)
    if item is None:
        raise KompanionError(f"{NAMESPACE} / {KEY} is not there")
    return item


def _rest(item: Item) -> dict[str, Any]:
    names = ("metadata", "tags", "thread", "user_key")
    return {name: getattr(item, name) for name in names}


def _title(out: Console, text: str) -> None:
    out.print()
    out.print(Text(clean(text), style=BOLD))


def _say(out: Console, what: str, start: float) -> None:
    out.print(Text(f"{what}: {time.monotonic() - start:.1f} s.", style=DIM))
