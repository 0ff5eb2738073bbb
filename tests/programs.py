"""Random programs: the strategies of the steps they are made of. program_runner.py carries them out."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st
from oracle import State

PAST = datetime(2020, 1, 1, tzinfo=timezone.utc)
SOON = datetime.now(timezone.utc).replace(microsecond=0)
NAMESPACES = ("acme", "acme:u1", "acme:u1:t", "acme2", "a_b:x")
MODELS = {"words": (3, "cosine"), "meaning": (2, "l2"), "short": (2, "inner_product")}

spaces = st.sampled_from([*NAMESPACES, "acme", "acme", "acme:u1"])
names = st.sampled_from([*[("acme", "k")] * 3, ("acme", "K"), *[("acme:u1", "k")] * 2, ("acme2", "k")])
models = st.sampled_from([None, None, None, "words", "words", "meaning", "short"])
contents = st.sampled_from(["ant", "bee", "ant bee", "bee ant", "ant bee ant", "cat ant", "  ", ""])
moments = st.one_of(st.none(), st.integers(-1, 3).map(lambda d: SOON + timedelta(days=d) if d > 0 else PAST))
futures = st.integers(0, 6).map(lambda d: SOON + timedelta(days=1 + d % 3) if d else PAST)
expected = st.sampled_from([*[None] * 15, -1, 0, 1, 2, 3])
actors = st.sampled_from([None, "ann", "bob"])
tags = st.lists(st.sampled_from(["red", "green", "Red"]), max_size=3)
filters = st.sampled_from(
    [
        None,
        {},
        {"n": 1},
        {"n": {"$gte": 2}},
        {"n": {"$ne": 1}},
        {"t": {"$exists": False}},
        {"$or": [{"n": 1}, {"t": "x"}]},
    ]
)
metadata = st.sampled_from([{}, {"n": 1}, {"n": 10, "t": "x"}, {"n": "1"}, {"t": None}])
vectors = st.lists(st.integers(-2, 2), min_size=3, max_size=3)
threads = st.sampled_from([None, None, "today", "plan"])
rarely = st.sampled_from([0, 0, 0, 0, 0, 1])

states = st.builds(
    lambda content, **rest: State(content=content, **rest),
    contents, metadata=metadata, tags=tags.map(tuple), thread=threads, user_key=st.sampled_from([None, "ann"]),
    expires_at=st.sampled_from([*[None] * 6, PAST, *(SOON + timedelta(days=d) for d in (1, 2, 3, 3))]),
)  # fmt: skip
some = st.one_of(
    *[st.fixed_dictionaries({name: tags}) for name in ("tags_any", "tags_all", "tags_none")],
    st.fixed_dictionaries({"thread": threads}),
    st.fixed_dictionaries({"filter": filters}, optional={"tags_none": tags}),
)
conditions = st.booleans().flatmap(lambda asked: some if asked else st.just({}))
Step = tuple[str, dict[str, Any]]


def step(method: str, /, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(method), st.fixed_dictionaries(arguments))


write = {
    "name": names,
    "state": states,
    "expected_revision": expected,
    "actor": actors,
    "cut": st.booleans(),
    "vectors": st.one_of(st.none(), st.lists(st.one_of(st.none(), vectors), min_size=1, max_size=3)),
}
upsert = step("upsert_item", model=models, **write)
upserts = step("upsert_items", model=models, writes=st.lists(st.fixed_dictionaries(write), min_size=1, max_size=4))
embed = step("embed", model=models, salt=vectors)
register = step("register_model", name=st.sampled_from(list(MODELS)), twist=rarely)
search = step(
    "search", scope=st.sampled_from(["*", "*", "acme", "acme", *NAMESPACES, "a_b", "axb"]), query=vectors, k=st.integers(1, 5), model=models,
    per_chunk=st.booleans(), conditions=conditions,
)  # fmt: skip
# One of a list by its place: st.one_of would take equal strategies for one.
often = [upsert] * 6 + [upserts] * 3 + [embed] * 3 + [search] * 2
STEPS = [
    *often,
    *[step("delete_item", name=names, expected_revision=expected, actor=actors)] * 4,
    *[step("restore_item", name=names, expires_at=moments, actor=actors)] * 2,
    *[step("touch_item", name=names, expires_at=futures, actor=actors)] * 2,
    *[step("revert_item", name=names, revision=st.integers(0, 4), expected_revision=expected, actor=actors)] * 2,
    step("expire_by_hand", name=names),
    step("write_by_hand", name=names, state=states),
    step("put_chunks", name=names, parts=st.lists(st.integers(0, 2), max_size=3)),
    step("claim", model=models),
    step("deliver", salt=vectors),
    register,
    step("set_default_model", name=st.sampled_from(list(MODELS)), require_complete=st.booleans()),
    step("retire_model", name=st.sampled_from(list(MODELS)), delete_vectors=st.booleans()),
    step("enqueue_missing", model=models),
    step("delete_namespace", path=spaces),
    *[step("restore_namespace", path=spaces)] * 2,
    step("ensure_namespace", path=spaces),
    step("ensure_thread", namespace=spaces, key=threads.filter(bool), reopen=st.booleans()),
    step("close_thread", namespace=spaces, key=threads.filter(bool)),
]
PROGRAMS = st.builds(
    lambda first, rest: [*first, *rest],
    st.tuples(register, upsert, upsert, embed, register),  # so that what follows has something to act on
    st.lists(st.integers(0, len(STEPS) - 1).flatmap(STEPS.__getitem__), min_size=8, max_size=25),
)
