"""The bad input of test_bad_input: calls of a store that must be refused, with the class and the argument to be named."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any

import numpy as np
import pytest

from kompanion_db import Chunk, NewItem, errors

SQL_TEXT = "'); drop table kompanion.memory_items; --"
LONG_AGO = datetime(2001, 1, 1, tzinfo=timezone.utc)
HUGE = 10**30


class NoZone(tzinfo):
    """A time zone that does not know how far it is from UTC."""

    def utcoffset(self, dt: datetime | None) -> None: ...


def nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {"a": 1}
    for _ in range(depth):
        found = {"$not": found}
    return found


Call = Callable[[Any], Any]
CASES: list[Any] = []


def refuses(error: type[errors.KompanionError], word: str, **calls: Call) -> None:
    """Calls that must raise exactly ``error`` with ``word``, the argument's name, in the message."""
    CASES.extend(pytest.param(call, error, word, id=name) for name, call in calls.items())


def write(**fields: Any) -> Call:
    return lambda s: s.upsert_item(**{"namespace": "acme:ann", "key": "k", "content": "c", **fields})


def bulk(**fields: Any) -> Call:
    return lambda s: s.upsert_items(
        [NewItem("acme:ann", "good", "g"), NewItem(**{"namespace": "acme:ann", "content": "c", **fields})]
    )


def find(**fields: Any) -> Call:
    return lambda s: s.search(**{"scope": "*", "query": [1, 0, 0], "model": "small", **fields})


BAD_VECTORS: dict[str, Any] = {
    "nan": [math.nan, 0, 0], "infinity": [0, math.inf, 0], "infinity_in_float32": [1e39, 0, 0], "wrong_dimension": [1, 0],
    "empty": [], "zero": [0, 0, 0], "two_axes": [[[1, 0, 0]]], "text": ["a", "b", "c"], "ragged": [[1], [1, 2]],
    "complex": np.array([1, 2j, 0]), "huge": [10**400, 0, 0], "too_short": [1e-25, 2e-25, 0], "too_long": [2e19, 0, 0], "vast": [1.0] * 70_000,
    "masked": np.ma.array([1, 2, 3], mask=[0, 1, 0]), "masked_in_float32": np.ma.array([1, 2, 3], "f4", mask=[0, 1, 0]),
}  # fmt: skip
for _name, _vector in BAD_VECTORS.items():
    refuses(errors.BadVector, "vectors", **{
        f"upsert_vector_{_name}": write(vectors=[_vector], model="small"),
        f"bulk_vector_{_name}": lambda s, v=_vector: s.upsert_items(
            [NewItem("acme:ann", "c", "k", vectors=[v])], model="small"),
    })  # fmt: skip
    refuses(errors.BadVector, "query", **{f"search_{_name}": find(query=_vector)})
refuses(
    errors.BadVector, "vectors", upsert_vectors_no_list=write(vectors=5, model="small"),
    put_embeddings_one_axis=lambda s: s.put_embeddings([], np.ones(3)),
)  # fmt: skip

UNKNOWN = "no such model"
refuses(
    errors.UnknownModel, "model",
    search_model=find(model=UNKNOWN),
    search_model_sql=find(model=SQL_TEXT),
    explain_model=lambda s: s.explain_search("*", [1, 0, 0], model=UNKNOWN),
    upsert_model=write(vectors=[[1, 0, 0]], model=UNKNOWN),
    bulk_model=lambda s: s.upsert_items([NewItem("acme:ann", "c")], model=UNKNOWN),
    pending_model=lambda s: s.pending_embeddings(UNKNOWN),
    put_embeddings_model=lambda s: s.put_embeddings([], [], model=UNKNOWN),
    enqueue_model=lambda s: s.enqueue_missing(UNKNOWN),
    ensure_index_model=lambda s: s.ensure_index(UNKNOWN),
    index_advice_model=lambda s: s.index_advice(UNKNOWN),
    retire_model=lambda s: s.retire_model(UNKNOWN),
    set_default_model=lambda s: s.set_default_model(UNKNOWN),
)  # fmt: skip
refuses(
    errors.ModelConflict, "model",
    register_other_dim=lambda s: s.register_model("small", 5),
    retire_default=lambda s: s.retire_model("small"),
    switch_before_backfill=lambda s: s.set_default_model("large"),
)  # fmt: skip

BAD_PATHS = {
    "empty": "", "empty_segment": "a::b", "leading": ":a", "trailing": "a:", "nine": "a:b:c:d:e:f:g:h:i",
    "long": "x" * 129, "not_nfc": "cafe\u0301", "space": "a b", "slash": "a/b", "newline": "a\n", "percent": "a%",
    "quote": "a'b", "sql": SQL_TEXT, "star_inside": "a:*", "emoji": "\U0001f600", "huge": "a:" * 100_000,
    "zero_width": "a\u200bb", "null": None,
}  # fmt: skip
for _name, _path in BAD_PATHS.items():
    refuses(errors.BadNamespace, "namespace", **{
        f"upsert_path_{_name}": write(namespace=_path),
        f"bulk_path_{_name}": bulk(namespace=_path),
        f"search_path_{_name}": find(scope=_path),
        f"list_path_{_name}": lambda s, p=_path: s.list_items(p),
        f"ensure_path_{_name}": lambda s, p=_path: s.ensure_namespace(p),
    })  # fmt: skip
refuses(
    errors.BadNamespace, "namespace",
    write_to_everything=write(namespace="*"), get_path=lambda s: s.get_item("a b", "k"),
    delete_path=lambda s: s.delete_namespace("*"), stats_path=lambda s: s.stats("a b"),
    export_path=lambda s: s.export_items("a b"), after_path=lambda s: s.list_namespaces(after="a b"),
)  # fmt: skip
refuses(
    errors.NamespaceDeleted, "namespace", write_deleted=write(namespace="gone:one"), below=bulk(namespace="gone:new")
)
refuses(errors.ThreadClosed, "thread", write_closed=write(thread="closed"), bulk_closed=bulk(thread="closed"))

for _word in ("key", "content", "thread", "user_key", "actor"):
    refuses(errors.BadArgument, _word, **{
        f"{_word}_nul": write(**{_word: "a\0b"}), f"{_word}_surrogate": write(**{_word: "\ud800"}),
        f"{_word}_number": write(**{_word: 5}), f"{_word}_bytes": write(**{_word: b"x"}),
        f"bulk_{_word}_nul": bulk(**{_word: "a\0b"}), f"bulk_{_word}_surrogate": bulk(**{_word: "\udfff"}),
    })  # fmt: skip
for _word in ("key", "thread", "user_key"):
    refuses(errors.BadArgument, _word, **{
        f"{_word}_10000": write(**{_word: "x" * 10_000}), f"{_word}_empty": write(**{_word: ""}),
        f"bulk_{_word}_10000": bulk(**{_word: "x" * 10_000}), f"bulk_{_word}_empty": bulk(**{_word: ""}),
    })  # fmt: skip
refuses(errors.BadArgument, "content", content_null=write(content=None), bulk_content_null=bulk(content=None))
refuses(errors.TooLarge, "content", content_17_mb=write(content="x" * 17_000_000))

for _word, _bad in {"list": [1], "text": "x", "number": 5, "nul": {"a": "x\0"}, "nul_name": {"\0": 1}, "nan": {"a": math.nan},
                    "object": {"a": object()}, "surrogate": {"a": "\ud800"}, "deep": None}.items():  # fmt: skip
    if _word == "deep":
        _bad = {}
        for _ in range(100_000):
            _bad = {"a": _bad}
    refuses(errors.BadArgument, "metadata", **{
        f"metadata_{_word}": write(metadata=_bad), f"bulk_metadata_{_word}": bulk(metadata=_bad),
        f"user_metadata_{_word}": lambda s, m=_bad: s.ensure_user("acme:ann", "u", metadata=m),
        f"thread_metadata_{_word}": lambda s, m=_bad: s.ensure_thread("acme:ann", "t", metadata=m),
    })  # fmt: skip
BIG = {"a": "x" * 20_000_000}
refuses(errors.TooLarge, "metadata", metadata_20_mb=write(metadata=BIG), bulk_metadata_20_mb=bulk(metadata=BIG))

for _name, _k in {"zero": 0, "negative": -1, "100000": 100_000, "null": None, "text": "5", "float": 2.5, "bool": True,
                  "huge": HUGE}.items():  # fmt: skip
    refuses(errors.BadArgument, "k:", **{f"k_{_name}": find(k=_k)})
for _name, _value in {"zero": 0, "over": 1.5, "nan": math.nan, "text": "x"}.items():
    refuses(errors.BadArgument, "target_recall", **{f"recall_{_name}": find(target_recall=_value)})

BAD_FILTERS: dict[str, Any] = {
    "unknown": {"a": {"$regex": "x"}}, "unknown_top": {"$nor": []}, "sql": {"a": {SQL_TEXT: 1}, "$x": 1},
    "gte_list": {"a": {"$gte": [1]}}, "gte_null": {"a": {"$gte": None}}, "in_text": {"a": {"$in": "x"}},
    "in_lists": {"a": {"$in": [[1]]}}, "in_2000": {"a": {"$in": list(range(2000))}}, "and_object": {"$and": {}},
    "or_empty": {"$or": []}, "exists": {"a": {"$exists": 1}}, "contains": {"a": {"$contains": {}}}, "list": [1],
    "eq_object": {"a": {"$eq": {}}}, "field_list": {"a": [1]}, "field_empty": {"": 1}, "field_dots": {"a..b": 1},
    "no_operator": {"a": {}}, "not_value": {"$not": 5}, "text": "x", "deep_40": nested(40), "deep_1000": nested(1000),
    "deep_100000": nested(100_000), "many": {"$or": [{"a": n} for n in range(20_000)]},
}  # fmt: skip
for _name, _filter in BAD_FILTERS.items():
    refuses(errors.BadFilter, "filter", **{
        f"search_filter_{_name}": find(filter=_filter),
        f"list_filter_{_name}": lambda s, f=_filter: s.list_items("*", filter=f),
    })  # fmt: skip
refuses(errors.BadArgument, "filter", filter_nul=find(filter={"a": "\0"}), filter_nan=find(filter={"a": math.nan}))

for _name, _tags in {"text": "abc", "empty": [""], "long": ["x" * 129], "null": [None], "many": [str(n) for n in range(65)],
                     "numbers": [1], "nul": ["\0"], "surrogate": ["\ud800"]}.items():  # fmt: skip
    refuses(errors.BadArgument, "tags", **{f"tags_{_name}": write(tags=_tags), f"bulk_tags_{_name}": bulk(tags=_tags)})
refuses(errors.BadArgument, "tags_any", search_tags=find(tags_any="abc"))

refuses(
    errors.RevisionConflict, "expected_revision",
    stale=write(key="note-1", expected_revision=1), ahead=write(key="note-1", expected_revision=9),
    must_not_exist=write(key="note-1", expected_revision=0), never_was=write(expected_revision=3),
    bulk_stale=bulk(key="note-1", expected_revision=1), bulk_exists=bulk(key="note-1", expected_revision=0),
    delete_stale=lambda s: s.delete_item("acme:ann", "note-1", expected_revision=1),
    revert_stale=lambda s: s.revert_item("acme:ann", "note-1", 1, expected_revision=1),
)  # fmt: skip
for _name, _revision in {"negative": -1, "huge": HUGE, "text": "1", "bool": True, "float": 1.0}.items():
    refuses(errors.BadArgument, "expected_revision", **{
        f"revision_{_name}": write(key="note-1", expected_revision=_revision),
        f"bulk_revision_{_name}": bulk(key="note-1", expected_revision=_revision),
    })  # fmt: skip
refuses(errors.NotFound, "revision", revert_to_none=lambda s: s.revert_item("acme:ann", "note-1", 77))
refuses(
    errors.NotFound, "item",
    delete_none=lambda s: s.delete_item("acme:ann", SQL_TEXT), restore_none=lambda s: s.restore_item("acme:ann", "none"),
    touch_none=lambda s: s.touch_item("acme:ann", "none", ttl=timedelta(1)),
    touch_deleted=lambda s: s.touch_item("acme:bob", "note-2", ttl=timedelta(1)),
    chunks_none=lambda s: s.put_chunks("acme:ann", "none", []),
)  # fmt: skip
refuses(errors.NotFound, "thread", close_none=lambda s: s.close_thread("acme:ann", SQL_TEXT))
refuses(errors.NotFound, "namespace", delete_namespace_none=lambda s: s.delete_namespace("nobody"))

for _name, _moment in {"past": LONG_AGO, "naive": datetime(2100, 1, 1), "no_zone": datetime(2100, 1, 1, tzinfo=NoZone()),
                       "text": "2100-01-01", "number": 5, "end_of_time": datetime.max.replace(tzinfo=timezone.utc)}.items():  # fmt: skip
    refuses(errors.BadArgument, "expires_at", **{
        f"expiry_{_name}": write(expires_at=_moment), f"bulk_expiry_{_name}": bulk(expires_at=_moment),
        f"touch_expiry_{_name}": lambda s, m=_moment: s.touch_item("acme:ann", "long", expires_at=m),
        f"restore_expiry_{_name}": lambda s, m=_moment: s.restore_item("acme:bob", "note-2", expires_at=m),
    })  # fmt: skip
for _name, _ttl in {"zero": timedelta(0), "negative": timedelta(-1), "longest": timedelta.max, "number": 60}.items():
    refuses(errors.BadArgument, "ttl", **{f"ttl_{_name}": write(ttl=_ttl)})
refuses(
    errors.BadArgument, "ttl",
    both=write(ttl=timedelta(1), expires_at=datetime(2100, 1, 1, tzinfo=timezone.utc)),
    neither=lambda s: s.touch_item("acme:ann", "long"),
)  # fmt: skip
refuses(
    errors.BadArgument, "created_at",
    created_naive=write(created_at=datetime(2020, 1, 1)), bulk_created=bulk(created_at=datetime(2020, 1, 1)),
    created_first=write(created_at=datetime.min.replace(tzinfo=timezone.utc)),
    bulk_created_first=bulk(created_at=datetime.min.replace(tzinfo=timezone.utc)),
)  # fmt: skip
refuses(errors.BadArgument, "at:", as_of_naive=lambda s: s.item_as_of("acme:ann", "long", datetime(2020, 1, 1)))

refuses(
    errors.BadArgument, "chunks",
    chunk_outside=write(chunks=[Chunk(0, "c", 0, 9)]), chunk_empty=write(chunks=[Chunk(0, "", 0, 0)]),
    chunk_backwards=write(chunks=[Chunk(0, "c", 1, 0)]), chunk_type=write(chunks=["c"]), chunk_number=write(chunks=5),
    chunk_float=write(chunks=[Chunk(0, "c", 0.5, 1)]), chunk_huge=write(chunks=[Chunk(0, "c", 0, HUGE)]),  # type: ignore[arg-type]
    bulk_chunk=bulk(chunks=[Chunk(0, "d", 0, 9)]), bulk_chunk_whole=bulk(chunks=[Chunk(0, "c", -1, 1)]), bulk_chunk_type=bulk(chunks=["c"]), bulk_chunk_number=bulk(chunks=5),
    put_outside=lambda s: s.put_chunks("acme:ann", "note-1", [Chunk(0, "x", 0, 999)]),
    put_number=lambda s: s.put_chunks("acme:ann", "note-1", 5),
    embeddings_type=lambda s: s.put_embeddings([5], [[1, 0, 0]]), embeddings_number=lambda s: s.put_embeddings(5, []),
)  # fmt: skip
refuses(
    errors.StaleChunk, "content_revision", old_cut=lambda s: s.put_chunks("acme:ann", "note-1", [], content_revision=1)
)
TWO = np.ones((2, 3))
refuses(errors.BadArgument, "vectors", too_many=write(vectors=TWO, model="small"), bulk_too_many=bulk(vectors=TWO))

for _name, _size in {"zero": 0, "negative": -5, "over": 10_001, "text": "x", "huge": HUGE}.items():
    refuses(errors.BadArgument, "page_size", **{
        f"list_page_{_name}": lambda s, n=_size: s.list_items("*", page_size=n),
        f"threads_page_{_name}": lambda s, n=_size: s.list_threads("*", page_size=n),
        f"namespaces_page_{_name}": lambda s, n=_size: s.list_namespaces(page_size=n),
        f"export_page_{_name}": lambda s, n=_size: s.export_items(page_size=n),
    })  # fmt: skip
for _name, _after in {"empty": "", "text": "x", "sql": SQL_TEXT, "huge": "9" * 40 + "/x", "number": 5}.items():
    refuses(errors.BadArgument, "after", **{
        f"list_after_{_name}": lambda s, a=_after: s.list_items("*", after=a),
        f"threads_after_{_name}": lambda s, a=_after: s.list_threads("*", after=a),
        f"export_after_{_name}": lambda s, a=_after: s.export_items(after=a),
    })  # fmt: skip
refuses(
    errors.BadArgument, "batch",
    pending_zero=lambda s: s.pending_embeddings(batch=0), purge_zero=lambda s: s.purge(batch=0),
    purge_huge=lambda s: s.purge(batch=HUGE), bulk_zero=lambda s: s.upsert_items([], batch_size=0),
    bulk_text=lambda s: s.upsert_items([], batch_size="x"), trim_zero=lambda s: s.trim_history(batch=0),
)  # fmt: skip
refuses(
    errors.BadArgument, "keep_for",
    trim_negative=lambda s: s.trim_history(keep_for=timedelta(-1)), trim_last=lambda s: s.trim_history(keep_last=-1),
    trim_longest=lambda s: s.trim_history(keep_for=timedelta.max),
)  # fmt: skip
refuses(
    errors.BadArgument, "lease",
    lease_negative=lambda s: s.pending_embeddings(lease=timedelta(-1)), lease_number=lambda s: s.pending_embeddings(lease=5),
    lease_longest=lambda s: s.pending_embeddings(lease=timedelta.max),
)  # fmt: skip
refuses(
    errors.BadArgument,
    "dim",
    dim_zero=lambda s: s.register_model("m", 0),
    dim_20000=lambda s: s.register_model("m", 20_000),
)
refuses(errors.BadArgument, "metric", metric=lambda s: s.register_model("m", 3, metric=SQL_TEXT))
refuses(
    errors.BadArgument,
    "name",
    name_long=lambda s: s.register_model("m" * 10_000, 3),
    name_empty=lambda s: s.register_model("", 3),
)
refuses(
    errors.BadArgument,
    "kind",
    kind=lambda s: s.ensure_index("small", kind=SQL_TEXT),
    lists=lambda s: s.ensure_index("small", lists=0),
)
refuses(errors.BadArgument, "type", key_type=lambda s: s.index_metadata_key("k", type=SQL_TEXT))
refuses(
    errors.BadFilter,
    "field",
    key_operator=lambda s: s.index_metadata_key("$eq"),
    key_dots=lambda s: s.index_metadata_key("a..b"),
)
refuses(errors.BadArgument, "query:", text_query=lambda s: s.search("*", "what is it?"), no_query=find(query=None))
refuses(
    errors.BadArgument, "items",
    items_number=lambda s: s.upsert_items(5), items_text=lambda s: s.upsert_items("abc"), items_none=lambda s: s.upsert_items(None),
    item_number=lambda s: s.upsert_items([5]), item_field=lambda s: s.upsert_items([{"namespace": "a", "content": "c", "x": 1}]),
    item_short=lambda s: s.upsert_items([{"namespace": "a"}]),
)  # fmt: skip
