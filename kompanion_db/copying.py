"""A store moves into another one, of whatever engine, page by page, and is compared with it afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import arguments as check
from .digests import Digest, digest_of
from .errors import BadArgument
from .metadata import decoded
from .requests import rows_of
from .snapshots import Mark, Pages, Snapshot, batches, snapshot_of
from .store import Store

PAGE = 500
"""Items looked at together; they are read, in as many pages as they need, only when the other store lacks some."""


@dataclass(frozen=True)
class Copied:
    """How many items were written, how many were there already, and the digest of both stores (None: not compared)."""

    items: int
    skipped: int
    digest: str | None


def copy(
    source: Store,
    target: Store,
    *,
    verify: bool = True,
    progress: Callable[[str, int], None] | None = None,
) -> Copied:
    """Write all that ``source`` holds at this moment into ``target``, as it is, also what is deleted or expired.

    Each batch is kept when it is written. Broken off, it is simply run again: what is there is passed over, and an item
    that has changed since is refused by name, for nothing in ``target`` is written over. With ``verify`` the digests of
    both are compared at the end; without, what came later and makes no revision, such as vectors, is not seen.
    ``progress`` is told "copied" or "compared" with the number of items so far. Memory: a page of items at a time.
    Raises BadArgument when the stores are none or one, hold an item in two states, or differ in the end, and inside a
    transaction of either; ModelConflict.
    """
    for name, store in (("source", source), ("target", target)):
        if not isinstance(store, Store):
            raise BadArgument(f"{name}: is {type(store).__name__}, not a store", hint="Give what connect(url) returns.")
        store._check_outside("copy")
    check.callback("progress", progress)
    if source.url == target.url:
        raise BadArgument("target: is the source", hint="Name two stores.")
    tell = progress or (lambda what, count: None)
    digest = Digest() if verify else None
    with snapshot_of(source) as there:
        for batch in batches(there.registry("*")):
            _write(target, batch)
            if digest is not None:
                digest.add_all(batch)
        items, seen = _items(there, target, digest, tell)
    if digest is None:
        return Copied(items, seen - items, None)
    wanted = digest.hexdigest()
    with snapshot_of(target) as here:
        found = digest_of(here, progress=lambda count: tell("compared", count))
    if found != wanted:
        raise BadArgument(
            "target: differs from the source after the copy",
            detail=f"Digest of the source: {wanted}, of the target: {found}.",
            hint="It held something of its own, somebody wrote to it meanwhile, or the source has changed since an "
            "earlier copy, if only by vectors: copy into an empty store.",
        )
    return Copied(items, seen - items, wanted)


def _items(there: Snapshot, target: Store, digest: Digest | None, tell: Callable[[str, int], None]) -> tuple[int, int]:
    """Copy the items; how many were written, and how many there are."""
    written = seen = 0
    after: str | None = None
    pages = Pages(there, "*", PAGE)
    while marks := there.marks("*", PAGE, after):
        held = _held(target, after, marks[-1][0])
        for before, mark in zip([after, *(cursor for cursor, *_ in marks)], marks, strict=False):
            if held.get(mark[0], mark) != mark:
                raise _changed(there, before)
        missing = any(mark[0] not in held for mark in marks)
        if missing or digest is not None:
            for documents in pages.read(after, len(marks)):
                for batch in batches(documents) if missing else ():
                    written += _write(target, batch)
                if digest is not None:
                    digest.add_all(documents)
                seen += len(documents)
                tell("copied", seen)
        else:
            seen += len(marks)
            tell("copied", seen)
        after = marks[-1][0]
    return written, seen


def _held(target: Store, after: str | None, last: str) -> dict[str, Mark]:
    """The marks of what the target holds after one cursor up to another, and perhaps of more, by cursor."""
    held: dict[str, Mark] = {}
    while after is None or after < last:  # the text of a cursor sorts as its ids do
        rows = target.run(rows_of("export_marks", scope="*", page_size=PAGE, after=after))
        held |= {row["cursor"]: (row["cursor"], row["revision"], row["updated_at"]) for row in rows}
        if len(rows) < PAGE:
            break
        after = rows[-1]["cursor"]
    return held


def _changed(there: Snapshot, before: str | None) -> BadArgument:
    """The error for the item of the source that comes after a cursor."""
    ((document, _),) = there.items("*", 1, before)
    item = decoded(document)
    return BadArgument(
        f"target: item {item['key']!r} in {item['namespace']!r} is there in another state",
        detail="It has changed in the source since an earlier copy, or was written to in the target.",
        hint="A copy writes nothing over: copy into an empty store.",
    )


def _write(target: Store, documents: list[str]) -> int:
    # The text goes on as it came, so that no number is read and written again.
    rows = target.run(rows_of("import_documents", False, documents=f"[{','.join(documents)}]"))
    return int(rows[0]["items"])
