"""Writing the documents of an export as they were, with ids, revisions and times, as in pg_0037_import."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import BadArgument
from ..namespaces import check_registrable, hash_path, namespace_segments
from ..types import Vector
from .functions.checks import dumped, normalize_tags
from .functions.models import register_model
from .functions.settings import set_setting
from .imported import (
    Document,
    exact,
    formed,
    id_of,
    listed_in,
    name_of,
    need,
    object_of,
    read_documents,
    text_of,
    time_of,
    times_of,
    truth_of,
    vector_of,
    whole_of,
)
from .merging import next_number
from .models import Model, fit
from .session import Session
from .vectors import append_vectors

__all__ = ["read_documents", "write_items", "write_registry"]

_HISTORY = """
    insert into memory_item_revisions (item_no, revision, key, content, metadata, tags, thread_no, user_no, actor,
                                       updated_at, superseded_at, expires_at, deleted_at)
    values (?, ?, ?, ?, jsonb(?), jsonb(?), ?, ?, ?, ?, ?, ?, ?)
"""
_ITEMS = """
    insert into memory_items (item_no, namespace_no, item_id, key, content, metadata, tags, thread_no, user_no, actor,
                              revision, content_revision, created_at, updated_at, expires_at, deleted_at)
    values (?, ?, ?, ?, ?, jsonb(?), jsonb(?), ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_CHUNKS = """
    insert into memory_chunks (chunk_id, namespace_no, item_no, ordinal, content, start_offset, end_offset, revision,
                               content_revision, created_at)
    values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_EMBEDDINGS = """
    insert into embeddings (vec_id, model_id, chunk_id, created_at, namespace_no, item_no, thread_no, expires_at,
                            deleted_at)
    values (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_QUEUE = """
    insert into embedding_queue (chunk_id, model_id, created_at)
    select ?, m.model_id, ? from embedding_models m
    where m.name = ? and m.retired_at is null
      and not exists (select 1 from embeddings e where e.chunk_id = ? and e.model_id = m.model_id)
"""


def write_registry(session: Session, documents: list[Document]) -> int:
    """Settings, models, namespaces, users and threads as they were; what is there already stays. How many."""
    with formed():
        _settings(session, [d for d in documents if d["kind"] == "setting"])
        models = [d for d in documents if d["kind"] == "model"]
        _models(session, models)
        return len(models) + sum(_place(session, kind, documents) for kind in ("namespace", "user", "thread"))


def _settings(session: Session, documents: list[Document]) -> None:
    # A store that holds items has its own settings.
    if session.one("select 1 from memory_items limit 1") is None:
        for document in documents:
            set_setting(session, name_of(document, "name"), exact(document.get("value")))


def _models(session: Session, documents: list[Document]) -> None:
    new = set()
    for document in documents:
        name, dim, metric = name_of(document, "name"), whole_of(document, "dim"), text_of(document, "metric")
        same = session.one(
            "select 1 from embedding_models where name = ? and dim = ? and metric = ?", (name, dim, metric)
        )
        if same is None:
            register_model(session, name, dim, metric or "")
            session.run(
                "update embedding_models set created_at = coalesce(?, created_at) where name = ?",
                (time_of(document, "created_at"), name),
            )
            new.add(name)
        if truth_of(document, "is_default"):
            session.run(
                "update embedding_models set is_default = 0 where is_default = 1 and name <> ? "
                "and not exists (select 1 from embeddings)",
                (name,),
            )
            session.run(
                "update embedding_models set is_default = 1 "
                "where name = ? and not exists (select 1 from embedding_models where is_default = 1)",
                (name,),
            )
    # Last: until the default has had its turn, the first model is the default, and may be a retired one.
    for document in documents:
        retired = time_of(document, "retired_at")
        if retired is not None and document["name"] in new:
            session.run(
                "update embedding_models set retired_at = ? where name = ? and is_default = 0",
                (retired, document["name"]),
            )


def _place(session: Session, kind: str, documents: list[Document]) -> int:
    count = 0
    for document in documents:
        if document["kind"] != kind:
            continue
        path = text_of(document, "path" if kind == "namespace" else "namespace")
        namespace_segments(path)  # type: ignore[arg-type]  # None is refused
        if kind == "namespace":
            check_registrable(path or "")
            created, deleted = need(time_of(document, "created_at"), "created_at"), time_of(document, "deleted_at")
            count += session.run(
                "insert into namespaces (namespace_id, path, created_at, deleted_at) values (?, ?, ?, ?) "
                "on conflict do nothing",
                (hash_path(path or "").bytes, path, created, deleted),
            )
            continue
        columns: dict[str, Any] = {
            f"{kind}_id": id_of(document, f"{kind}_id"),
            "key": name_of(document, "key"),
            "created_at": need(time_of(document, "created_at"), "created_at"),
        }
        columns |= (
            {"display_name": text_of(document, "display_name")}
            if kind == "user"
            else {"title": text_of(document, "title"), "closed_at": time_of(document, "closed_at")}
        )
        number = need(session.value("select namespace_no from namespaces where path = ?", (path,)), "its namespace")
        count += session.run(
            f"insert into {kind}s (namespace_no, metadata, {', '.join(columns)}) "
            f"values (?, jsonb(?), {', '.join('?' * len(columns))}) on conflict do nothing",
            (number, object_of(document, "metadata"), *columns.values()),
        )
    return count


def write_items(session: Session, documents: list[Document]) -> int:
    """Items whole, all or none, but for those whose name or id is taken; how many were written."""
    if not documents:
        return 0
    with formed():
        return _Batch(session).write(documents)


class _Batch:
    """Items as rows of all tables, a statement a table."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.items: list[tuple[Any, ...]] = []
        self.history: list[tuple[Any, ...]] = []
        self.chunks: list[tuple[Any, ...]] = []
        self.queued: list[tuple[int, list[tuple[str, int]]]] = []
        self.vectors: dict[str, list[tuple[Vector, tuple[Any, ...]]]] = {}
        self._named: dict[tuple[str, int, str], int] = {}
        self._spaces: dict[str, int] = {}
        self._models: dict[str, Model] = {}
        self._next_item = next_number(session, "memory_items")
        self._next_chunk = next_number(session, "memory_chunks")

    def write(self, documents: list[Document]) -> int:
        session = self.session
        taken: set[tuple[int, str | bytes]] = set()
        for document in documents:
            space, key, item_id = self._space(document), name_of(document, "key"), id_of(document, "item_id")
            names: set[tuple[int, str | bytes]] = {(space, key), (space, item_id)}
            there = session.one(
                "select 1 from memory_items where namespace_no = :space and key = :key "
                "union all select 1 from memory_items where namespace_no = :space and item_id = :id limit 1",
                {"space": space, "key": key, "id": item_id},
            )
            if there is None and taken.isdisjoint(names):
                taken |= names
                self._add(document, space, key, item_id)
        for sql, rows in ((_ITEMS, self.items), (_HISTORY, self.history), (_CHUNKS, self.chunks)):
            session.many(sql, rows)
        for name, given in self.vectors.items():
            model = self._model(name)
            first = append_vectors(session, model.model_id, np.stack([vector for vector, _ in given]))
            session.many(_EMBEDDINGS, [(first + n, model.model_id, *row) for n, (_, row) in enumerate(given)])
        # Each chunk waits for a vector of every model in use, a trigger sees to it; here it is said what waits.
        session.many("delete from embedding_queue where chunk_id = ?", [(chunk_id,) for chunk_id, _ in self.queued])
        session.many(_QUEUE, [(no, at, model, no) for no, waiting in self.queued for model, at in waiting])
        return len(self.items)

    def _add(self, document: Document, space: int, key: str, item_id: bytes) -> None:
        item_no = self._next_item + len(self.items)
        body = self._body(document, space)
        created, updated, expires, deleted = times_of(document, "created_at", "updated_at", "expires_at", "deleted_at")
        self.items.append(
            (item_no, space, item_id, key, *body, whole_of(document, "revision"),
             whole_of(document, "content_revision"), created, updated, expires, deleted)
        )  # fmt: skip
        for revision in listed_in(document, "revisions"):
            times = times_of(revision, "updated_at", "superseded_at", "expires_at", "deleted_at")
            number, name = whole_of(revision, "revision"), name_of(revision, "key")
            self.history.append((item_no, number, name, *self._body(revision, space), *times))
        carried = (space, item_no, body[3], expires, deleted)
        for chunk in listed_in(document, "chunks"):
            chunk_id = self._next_chunk + len(self.chunks)
            names = ("start_offset", "end_offset", "revision", "content_revision")
            self.chunks.append(
                (chunk_id, space, item_no, whole_of(chunk, "ordinal"), text_of(chunk, "content"),
                 *(whole_of(chunk, name) for name in names), time_of(chunk, "created_at"))
            )  # fmt: skip
            for each in listed_in(chunk, "vectors"):
                vector = self._vector(name_of(each, "model"), each.get("vector"))
                self.vectors.setdefault(each["model"], []).append(
                    (vector, (chunk_id, time_of(each, "created_at"), *carried))
                )
            # Format 1 does not say what waits: there, what lacks a vector.
            if "queued" in chunk:
                waiting = [
                    (name_of(each, "model"), need(time_of(each, "created_at"), "created_at"))
                    for each in listed_in(chunk, "queued")
                ]
                self.queued.append((chunk_id, waiting))

    def _body(self, document: Document, space: int) -> tuple[Any, ...]:
        tags = listed_in(document, "tags")
        if not all(isinstance(tag, str) for tag in tags):
            raise ValueError("tags: one is no text")
        return (
            need(text_of(document, "content"), "content"),
            object_of(document, "metadata"),
            dumped(normalize_tags(tags)),
            self._number("thread", space, text_of(document, "thread")),
            self._number("user", space, text_of(document, "user_key")),
            text_of(document, "actor"),
        )

    def _space(self, document: Document) -> int:
        path = text_of(document, "namespace") or ""
        if path not in self._spaces:
            namespace_segments(path)
            found = self.session.value("select namespace_no from namespaces where path = ?", (path,))
            self._spaces[path] = need(found, f"namespace {path}")
        return self._spaces[path]

    def _number(self, kind: str, space: int, key: str | None) -> int | None:
        if key is None:
            return None
        name = (kind, space, key)
        if name not in self._named:
            found = self.session.value(
                f"select {kind}_no from {kind}s where namespace_no = ? and key = ?", (space, key)
            )
            if found is None:
                raise BadArgument(
                    "documents: an item names a thread or a user that is not there",
                    hint="Import what export_registry returned first. If that was done, it is here by another key, "
                    "as it was renamed since: rename it here too.",
                )
            self._named[name] = found
        return self._named[name]

    def _model(self, name: str) -> Model:
        if name not in self._models:
            found = self.session.one("select model_id, name, dim, metric from embedding_models where name = ?", (name,))
            self._models[name] = Model(*need(found, f"model {name}"))
        return self._models[name]

    def _vector(self, name: str, value: Any) -> Vector:
        vector, model = vector_of(value), self._model(name)
        if len(vector) != model.dim or not fit(vector, model.metric):
            raise ValueError(f"a vector of {name} has another dimension, no direction, or is too short or too long")
        return vector
