"""Every error this package raises, one class per condition, keyed by SQLSTATE.

The SQL functions raise the codes (class ``KM``); Python maps them here, and the SQLite
engine raises the same classes, so a caller catches one name on either engine.
"""

from __future__ import annotations

import re

_ELEMENT = re.compile(r"^((?:items\[\d+\]\.)?(?:vectors|queries))\[(\d+)\]")


class KompanionError(Exception):
    """Base of all errors of kompanion_db.

    ``message`` says what is wrong and names the argument, ``detail`` adds the values,
    ``hint`` says the way out. ``sqlstate`` is the five-character code, the same on every engine; of what
    has no class here, the server's own, such as 40001 or 57014.
    """

    sqlstate: str = "KM000"

    def __init__(self, message: str, *, detail: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.hint = hint

    def count_from_0(self) -> None:
        """Name the element of a list as Python counts: SQL, where this comes from, counts those of an array from 1."""
        self.message = _ELEMENT.sub(lambda found: f"{found[1]}[{int(found[2]) - 1}]", self.message)
        self.args = (self.message,)

    def __str__(self) -> str:
        parts = [self.message]
        if self.detail:
            parts.append(self.detail)
        if self.hint:
            parts.append(f"Hint: {self.hint}")
        return " ".join(parts)


class RevisionConflict(KompanionError):
    """The item is no longer at the revision the writer expected."""

    sqlstate = "KM001"


class BadNamespace(KompanionError):
    """A namespace path or a scope breaks the rules for paths."""

    sqlstate = "KM002"


class NotFound(KompanionError):
    """The item, thread, namespace, chunk or revision named does not exist."""

    sqlstate = "KM003"


class BadVector(KompanionError):
    """A vector has the wrong dimension, a NaN or infinity, no elements, or no direction under cosine."""

    sqlstate = "KM004"


class UnknownModel(KompanionError):
    """No embedding model of that name is registered, or none is the default, or it is retired."""

    sqlstate = "KM005"


class BadFilter(KompanionError):
    """A metadata filter is not of the grammar: unknown operator, wrong operand type, too deep."""

    sqlstate = "KM006"


class BadArgument(KompanionError):
    """An argument is out of its range or of the wrong form."""

    sqlstate = "KM007"


class TooLarge(KompanionError):
    """Content, metadata, a filter or a batch is over its limit."""

    sqlstate = "KM008"


class NamespaceDeleted(KompanionError):
    """The namespace is soft-deleted: restore it, or purge it, before writing to it."""

    sqlstate = "KM009"


class ThreadClosed(KompanionError):
    """The thread is closed: it can be read and searched but takes no new memories."""

    sqlstate = "KM010"


class StaleChunk(KompanionError):
    """Chunks or embeddings were made from content that has changed since."""

    sqlstate = "KM011"


class ModelConflict(KompanionError):
    """The model exists already with another dimension or metric, or is still in use."""

    sqlstate = "KM012"


class UnsupportedServer(KompanionError):
    """The server or pgvector is too old, or pgvector or the UTF-8 encoding is missing."""

    sqlstate = "KM013"


class NotInstalled(KompanionError):
    """The schema is missing from this database, is of another version, or lacks its record of migrations."""

    sqlstate = "KM014"


class MigrationLocked(KompanionError):
    """Another process is migrating this database and did not finish in time."""

    sqlstate = "KM015"


class EmbedderError(KompanionError):
    """An embedder failed or answered with something that is not the asked number of vectors."""

    sqlstate = "KM016"


class ConnectionFailed(KompanionError):
    """The database cannot be reached, or the connection was lost in the middle of a call."""

    sqlstate = "KM017"


class MissingExtra(KompanionError):
    """An optional dependency is needed for this call and is not installed."""

    sqlstate = "KM018"


class PermissionDenied(KompanionError):
    """The database role lacks a right this call needs."""

    sqlstate = "KM019"


class StorageFull(KompanionError):
    """The server has no room left to write; nothing of the call was kept."""

    sqlstate = "KM020"


class DamagedStore(KompanionError):
    """A file of a store is missing, damaged, or not one of ours; nothing is answered from what is left."""

    sqlstate = "KM021"


BY_SQLSTATE: dict[str, type[KompanionError]] = {cls.sqlstate: cls for cls in KompanionError.__subclasses__()} | {
    "42501": PermissionDenied,
    "53100": StorageFull,
}
"""SQLSTATE -> exception class: our own ``KM`` codes and the server's codes that users meet."""
