"""The digest of a store changes with every part of what it holds, and with nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import engines
import hypothesis
import pytest
import samples
from by_hand import PostgresByHand
from hypothesis import strategies as st

import kompanion_db
from kompanion_db.digests import canonical
from kompanion_db.errors import BadArgument
from kompanion_db.sqlite.documents import same_document

# Table, which row, and what is changed of it: a column with what kind of value it holds.
NOTE, ONE = "key = 'note-1'", "ordinal = 1"
SMALL = "model_id = (select m.model_id from {}embedding_models m where m.name = 'small')"
PARTS = [
    ("memory_items", NOTE, "content:text metadata:json tags:tags actor:text created_at:time updated_at:time key:text"),
    ("memory_items", "key = 'note-3'", "expires_at:time deleted_at:time revision:number content_revision:number"),
    ("memory_items", "key = 'note-5'", "user:none thread:none"),
    ("memory_item_revisions", NOTE, "key:text"),
    ("memory_item_revisions", "revision = 1", "content:text metadata:json tags:tags actor:text superseded_at:time"),
    ("memory_item_revisions", "revision = 1", "expires_at:time deleted_at:time user:none thread:none"),
    (
        "memory_chunks",
        ONE,
        "content:text start_offset:number end_offset:number revision:number content_revision:number",
    ),
    ("memory_chunks", ONE, "created_at:time ordinal:number"),
    ("embeddings", SMALL, "created_at:time"),
    ("embedding_queue", SMALL, "created_at:time"),
    ("embedding_models", "name = 'large'", "metric:metric created_at:time retired_at:time name:text"),
    ("namespaces", "path = 'acme:ann'", "created_at:time deleted_at:time"),
    ("users", "key = 'ann'", "display_name:text metadata:json created_at:time key:text"),
    ("threads", "key = 'closed'", "title:text metadata:json created_at:time closed_at:time key:text"),
    ("settings", "name = 'retention_deleted'", "value:setting"),
    ("settings", "name = 'retention_expired'", "value:setting"),
    ("settings", "name = 'retention_revisions'", "value:setting"),
    ("settings", "name = 'target_recall'", "value:recall"),
]
POSTGRES = {
    "time": "coalesce({0}, '2030-01-01T00:00:00Z') + interval '1 microsecond'",
    "tags": "array['another']",
    "json": """'{"a": 1}'""",
    "setting": """'"77 days"'""",
    "recall": "'0.77'",
}
SQLITE = {
    "time": "coalesce({0}, 1893456000000000) + 1",
    "tags": """jsonb('["another"]')""",
    "json": """jsonb('{"a": 1}')""",
    "setting": "jsonb('6652800')",
    "recall": "jsonb('0.77')",
}
BOTH = {"text": "coalesce({0}, '') || '.'", "number": "{0} + 1", "none": "null", "metric": "'inner_product'"}


def statements(engine: str) -> Iterator[str]:
    """One change each, past all triggers."""
    lite = engine == "sqlite"
    schema = "" if lite else "kompanion."
    for table, where, columns in PARTS:
        for name, kind in (column.split(":") for column in columns.split()):
            column = f"{name}_{'no' if lite else 'id'}" if kind == "none" else name
            value = (BOTH | (SQLITE if lite else POSTGRES))[kind].replace("{0}", column)
            yield f"update {schema}{table} set {column} = {value} where {where.format(schema)}"
    yield f"delete from {schema}embedding_queue"
    if lite:
        yield "update vec_log set vector = x'0000803f0000803f00000080' where length(vector) = 12"
        yield "update vec_log set vector = x'0000803f0000803f00000000' where length(vector) = 12"
    else:
        yield f"update kompanion.embeddings set vector = '[1,1,-0]' where {SMALL.format(schema)}"
        yield f"update kompanion.embeddings set vector = '[1,1,0]' where {SMALL.format(schema)}"
    for table in ("embeddings", "memory_chunks", "memory_item_revisions", "memory_items", "users", "threads"):
        yield f"delete from {schema}{table}"


def digest(home: engines.Home) -> str:
    with kompanion_db.connect(home.url) as store:
        return store.digest()


def test_whatever_changes_changes_the_digest(one_home: engines.Home) -> None:
    with kompanion_db.connect(one_home.url) as store:
        samples.fill(store)
        with store.transaction():
            store.register_model("third", 2)
    seen = {digest(one_home): "nothing"}
    with one_home.by_hand() as hand:
        conn: Any = hand.conn  # type: ignore[attr-defined]
        if isinstance(hand, PostgresByHand):
            conn.execute("set session_replication_role = replica")
        else:
            conn.execute("pragma foreign_keys = off")
            for (name,) in conn.execute("select name from sqlite_schema where type = 'trigger'").fetchall():
                conn.execute(f"drop trigger {name}")
        for statement in statements("sqlite" if one_home.key == "sqlite" else "postgresql"):
            conn.execute(statement)
            found = digest(one_home)
            assert found not in seen, f"after: {statement}; as after: {seen[found]}"
            seen[found] = statement


def test_what_belongs_to_the_machine_does_not_change_the_digest(one_home: engines.Home) -> None:
    with kompanion_db.connect(one_home.url) as store:
        samples.fill(store)
        before = store.digest()
        assert len(before) == 64
        store.pending_embeddings("large", batch=2, worker="me")
        store.index_metadata_key("n", type="number")
        with one_home.by_hand() as hand:
            hand.set_setting("exact_threshold", 77)
        store.search("acme", [1, 0, 0], model="small")
        assert store.digest() == before


def test_the_digest_of_a_scope_is_of_that_scope(one_home: engines.Home) -> None:
    with kompanion_db.connect(one_home.url) as store:
        samples.fill(store)
        bob = store.digest("acme:bob")
        store.upsert_item("acme:ann", "new", "x")
        assert store.digest("acme:bob") == bob
        store.upsert_item("acme:bob", "new", "x")
        assert store.digest("acme:bob") != bob


async def test_the_async_store_has_the_same_digest(one_home: engines.Home) -> None:
    with kompanion_db.connect(one_home.url) as store:
        samples.fill(store)
        wanted = store.digest()
    async with await kompanion_db.connect_async(one_home.url) as store:
        assert await store.digest() == wanted


def test_a_digest_is_of_one_moment(one_home: engines.Home) -> None:
    with kompanion_db.connect(one_home.url) as store:
        samples.fill(store)
        before = store.digest()
        assert store.digest(progress=lambda count: store.delete_item("acme:ann", "note-1")) == before != store.digest()


def test_inside_a_transaction_a_digest_is_refused_on_either_engine(one_home: engines.Home) -> None:
    with kompanion_db.connect(one_home.url) as store:
        with store.transaction():
            store.upsert_item("acme", "k", "text")
            with pytest.raises(BadArgument, match=r"^digest: cannot run inside a transaction") as told:
                store.digest()
            assert told.value.hint == "Call it after the transaction."
        assert store.get_item("acme", "k") is not None
        store.digest()


async def test_inside_a_transaction_of_tasks_a_digest_is_refused_on_either_engine(one_home: engines.Home) -> None:
    async with await kompanion_db.connect_async(one_home.url) as store:
        async with store.transaction():
            await store.upsert_item("acme", "k", "text")
            with pytest.raises(BadArgument, match=r"^digest: cannot run inside a transaction"):
                await store.digest()
        assert await store.get_item("acme", "k") is not None
        await store.digest()


NUMBERS = st.integers(-(10**25), 10**25) | st.decimals(allow_nan=False, allow_infinity=False, places=3)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=8,
)


def written(value: Any, another: bool) -> str:
    """JSON text, or another text of the same: numbers in another form, names in another order."""
    if isinstance(value, dict):
        pairs = [f"{json.dumps(name)}:{written(part, another)}" for name, part in value.items()]
        return "{" + ",".join(reversed(pairs) if another else pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(written(part, another) for part in value) + "]"
    if value is None or isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=another)
    return f"{value}e0" if another and "E" not in str(value) else str(value)


def document(metadata: str) -> bytes | None:
    return canonical('{"kind": "user", "key": "k", "metadata": {"value": ' + metadata + "}}")


@hypothesis.settings(deadline=None)
@hypothesis.given(VALUES, VALUES)
def test_json_counts_by_what_it_means(one: Any, other: Any) -> None:
    assert document(written(one, False)) == document(written(one, True))
    texts = written(one, False), written(other, True)
    assert (document(texts[0]) == document(texts[1])) == same_document(*texts)


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "true"), ("1", '"1"'), ("0.1", "0.1000000000000000055511151231257827"), ("1e400", "1e401"), ("null", "{}")],
)
def test_what_is_almost_the_same_is_not(one: str, other: str) -> None:
    assert document(one) != document(other)
