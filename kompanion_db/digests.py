"""The digest of a store: 64 hexadecimal digits that are the same when, and only when, two stores hold the same.

It is the sum, modulo 2**256, of the SHA-256 of each document of an export, in a canonical form, hashed once more with
their number. So it does not depend on the engine, the order in which anything was written, internal numbers, how a
JSON number is written (1, 1.0 and 1e0 are one), the order of names in JSON objects, or where the vectors lie.

It covers, of a scope, also what is deleted or expired:

- models: name, dimension, metric, default, times of registration and retirement
- namespaces: path, times of creation and deletion
- users and threads: id, key, name or title, metadata, times (of closing too)
- items: namespace, id, key, content, metadata, tags, thread, user, actor, revision, the revision of the content, times
  of creation, update, expiry and deletion
- superseded revisions: all of that as it was, with the time it was superseded
- chunks: place, text, offsets, revisions, time
- vectors of every model, of retired ones too: each bit of the float32, and the time
- the queue: which chunk waits for a vector of which model, since when
- of the whole store (scope ``*``) the settings that say what is kept and found: retention_deleted, retention_expired,
  retention_revisions, target_recall

It does not cover what belongs to a machine or an engine: indexes, calibrations and choices of index, the other
settings, who has leased a chunk of the queue, and when a setting was changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from hashlib import sha256
from typing import Any

import numpy as np

from .errors import DamagedStore
from .snapshots import Snapshot, every_item

PAGE = 200
"""Items read at a time, at most."""

_SAFE_DIGITS = 15
_TIME = re.compile(r"(.{19})(?:\.(\d{1,6}))?(.*)")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Digest:
    """The digest of the documents added so far, in whatever order."""

    def __init__(self) -> None:
        self._sum = 0
        self._count = 0

    def add(self, document: str) -> None:
        """Add a document of an export. Raises DamagedStore for what is none."""
        try:
            found = canonical(document)
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as exc:
            raise DamagedStore(
                f"a document cannot be read: {exc}",
                detail=f"It begins: {document[:100]}",
                hint="Look what wrote it: no function of kompanion_db does.",
            ) from exc
        if found is not None:
            self._sum += int.from_bytes(sha256(found).digest(), "big")
            self._count += 1

    def add_all(self, documents: Iterable[str]) -> None:
        """Add several."""
        for document in documents:
            self.add(document)

    def hexdigest(self) -> str:
        """It as text."""
        total = self._sum % (1 << 256)
        return sha256(b"kompanion 1 %d %064x" % (self._count, total)).hexdigest()


def digest_of(found: Snapshot, scope: str = "*", progress: Callable[[int], None] | None = None) -> str:
    """The digest of one state of a store; ``progress`` is called with the number of items read so far."""
    digest = Digest()
    digest.add_all(found.registry(scope))
    done = 0
    for page in every_item(found, scope, PAGE):
        digest.add_all(page)
        done += len(page)
        if progress is not None:
            progress(done)
    return digest.hexdigest()


def canonical(document: str) -> bytes | None:
    """A document in the one form it has on every engine; None for the one that says the format."""
    found = _DECODER.decode(document)
    if found["kind"] == "export":
        return None
    whole = _record(found)
    return json.dumps(whole, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def _record(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a document or of a part of one: nulls and empty lists left out, times as microseconds."""
    made: dict[str, Any] = {}
    for name, value in fields.items():
        if value is None:
            continue
        if name.endswith("_at"):
            made[name] = _microseconds(value)
        elif name == "tags":
            made[name] = sorted(value)
        elif name == "vector":
            made[name] = _bits(value)
        elif name in _PARTS:
            made[name] = sorted((_record(part) for part in value), key=lambda part: str(part[_PARTS[name]]))
        else:
            made[name] = value
    return made


# The lists in a document, and the field by which their elements differ.
_PARTS = {"revisions": "revision", "chunks": "ordinal", "vectors": "model", "queued": "model"}


def _microseconds(text: str) -> int:
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:100]} is no time")
    at = datetime.fromisoformat(f"{found[1]}.{(found[2] or '0').ljust(6, '0')}{found[3]}")
    return (at - _EPOCH) // timedelta(microseconds=1)


def _bits(text: str) -> str:
    # -0 is no integer: its sign would be lost.
    return np.array(json.loads(text, parse_int=float), dtype="<f4").tobytes().hex()


def _number(text: str) -> Any:
    """A number in its one form. A name with a NUL is in no document, so nothing else looks like what is made here."""
    sign, digits, exponent = Decimal(text).as_tuple()
    assert isinstance(exponent, int)
    plain = "".join(map(str, digits))
    stripped = plain.rstrip("0").lstrip("0")
    if not stripped:
        return 0
    exponent += len(plain) - len(plain.rstrip("0"))
    if exponent >= 0 and len(stripped) + exponent <= _SAFE_DIGITS:
        whole = int(stripped) * 10**exponent
        return -whole if sign else whole
    return {"\0": f"{'-' if sign else ''}{stripped}e{exponent}"}


def _whole(text: str) -> Any:
    return int(text) if len(text) <= _SAFE_DIGITS else _number(text)


_DECODER = json.JSONDecoder(parse_float=_number, parse_int=_whole)
