"""What the statistics say of tags and namespaces makes searches quicker, and never changes what they find."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import psycopg
import pytest
import servers
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

import kompanion_db

ROWS, DIM, RARE = 1200, 16, 60
VECTORS = np.random.default_rng(3).normal(size=(ROWS, DIM)).astype(np.float32)
TAGS = ["all", "half", "third", "few", *(f"t{n}" for n in range(0, 240, 40)), "on nothing"]


def _tags(n: int) -> list[str]:
    """Every item, each second, each third, one in a hundred; and five items a tag."""
    found = ["all", f"t{n % 240}"]
    return found + ["half"] * (n % 2 == 0) + ["third"] * (n % 3 == 0) + ["few"] * (n % 100 == 0)


@pytest.fixture(scope="module")
def tagged(server: servers.Server) -> Iterator[kompanion_db.Store]:
    """A store with a calibrated index, in which up to 60 items are few."""
    database = server.create(server.template)
    with kompanion_db.connect(database.url) as store:
        store.register_model("m", DIM)
        store.upsert_items(
            {"namespace": f"acme:{n % 5}", "key": str(n), "content": "text", "tags": _tags(n), "metadata": {"n": n},
             "vectors": [VECTORS[n]]} for n in range(ROWS)
        )  # fmt: skip
        store.ensure_index("m", kind="ivfflat", lists=20)
        with database.connect() as conn:
            conn.execute("vacuum analyze")
        store.calibrate("m", sample=20)
        with database.connect() as conn:
            conn.execute(
                "update kompanion.embedding_models set knobs = knobs || jsonb_build_object('exact_rows', 10, 'rare_items', "
                "%(few)s::integer, 'common_tags', kompanion._common_tags(%(few)s))",
                {"few": RARE},
            )
        yield store
    database.drop()


def test_a_search_with_a_rare_tag_looks_at_nothing_but_what_the_tag_is_on(tagged: kompanion_db.Store) -> None:
    for tags in ({"tags_all": ["few", "all"]}, {"tags_any": ["few", "on nothing"]}):
        told = tagged.explain_search("*", VECTORS[1], **tags)
        assert told["reason"].startswith("its tags are so rare")
        assert (told["matches"], told["rows_visited"], told["expected_recall"]) == (12, 12, 1)


def test_common_tags_and_conditions_without_tags_do_not_lead(tagged: kompanion_db.Store) -> None:
    for asked in ({"tags_all": ["half"]}, {"tags_any": ["few", "all"]}, {"tags_none": ["few"]}, {"filter": {"n": 7}}):
        assert "so rare" not in tagged.explain_search("*", VECTORS[1], **asked)["reason"]


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, ROWS - 1),
    scope=st.sampled_from(["*", "acme", "acme:3", "acme:none"]),
    asked=st.fixed_dictionaries(
        {},
        optional={name: st.lists(st.sampled_from(TAGS), max_size=3) for name in ("tags_all", "tags_any", "tags_none")}
        | {"filter": st.sampled_from([{"n": {"$lt": 300}}, {"n": {"$gte": 900}}])},
    ),
)
def test_rare_tags_find_what_an_exact_search_finds(
    tagged: kompanion_db.Store, n: int, scope: str, asked: dict[str, Any]
) -> None:
    exact = tagged.search(scope, VECTORS[n], 7, target_recall=1, **asked)
    found = tagged.search(scope, VECTORS[n], 7, target_recall=0.95, **asked)
    assert len(found) == len(exact)
    told = tagged.explain_search(scope, VECTORS[n], 7, target_recall=0.95, **asked)
    if "so rare" in told["reason"]:
        assert [h.key for h in found] == [h.key for h in exact]


def test_a_tag_that_has_become_common_since_the_calibration_costs_no_answer(tagged: kompanion_db.Store) -> None:
    with tagged.transaction():
        for n in range(100):
            tagged.upsert_item("acme:more", str(n), "text", tags=["few"], vectors=[VECTORS[n]], model="m")
        told = tagged.explain_search("*", VECTORS[1], tags_all=["few"])
        found = tagged.search("*", VECTORS[1], 200, tags_all=["few"])
        for n in range(100):
            tagged.delete_item("acme:more", str(n))
    assert "so rare" not in told["reason"]
    assert len(found) == 112


def test_a_tag_that_has_become_common_elsewhere_is_not_gone_through_for_a_scope_that_has_few_of_it(
    tagged: kompanion_db.Store,
) -> None:
    with tagged.transaction():
        for n in range(400):
            tagged.upsert_item("acme:more", str(n), "text", tags=["new"], vectors=[VECTORS[n]], model="m")
        tagged.upsert_item("acme:3", "one", "text", tags=["new"], vectors=[VECTORS[7]], model="m")
        told = tagged.explain_search("acme:3", VECTORS[1], tags_all=["new"])
        few = tagged.explain_search("acme:3", VECTORS[1], tags_all=["few"])
        found = tagged.search("acme:3", VECTORS[1], tags_all=["new"])
        for n in range(400):
            tagged.delete_item("acme:more", str(n))
        tagged.delete_item("acme:3", "one")
    assert "so rare" not in told["reason"]
    assert "so rare" in few["reason"]
    assert [hit.key for hit in found] == ["one"]


@contextmanager
def _known(store: kompanion_db.Store, name: str, value: str, *parameters: Any) -> Iterator[Any]:
    """Let the calibration know this for the block; what it knows then."""
    with psycopg.connect(store.url, autocommit=True) as conn:
        (before,) = conn.execute("select knobs from kompanion.embedding_models").fetchone() or (None,)
        conn.execute(
            f"update kompanion.embedding_models set knobs = jsonb_set(knobs, '{{{name}}}', {value})", parameters
        )
        (after,) = conn.execute("select knobs -> %s from kompanion.embedding_models", [name]).fetchone() or (None,)
        yield after
        conn.execute("update kompanion.embedding_models set knobs = %s", [Jsonb(before)])


def test_a_calibration_has_room_for_a_thousand_common_tags(tagged: kompanion_db.Store) -> None:
    common = {f"a tag that is on many items {n}": 0.5 for n in range(1000)}
    with _known(tagged, "common_tags", "%s", Jsonb(common)):
        told = tagged.explain_search("*", VECTORS[1], tags_all=["few", "all"])
        assert told["reason"].startswith("its tags are so rare")


def test_a_namespace_known_to_be_large_answers_as_any_other(tagged: kompanion_db.Store) -> None:
    before = {hit.key for hit in tagged.search("acme:3", VECTORS[1], 9, target_recall=1)}
    with _known(tagged, "large", "(kompanion._large_namespaces(100)).large") as large:
        assert len(large) == 5
        hits = tagged.search("acme:3", VECTORS[1], 9)
        assert ({hit.namespace for hit in hits}, len(hits)) == ({"acme:3"}, 9)
        assert len(before & {hit.key for hit in hits}) >= 7  # by the index or exactly
        assert "looked_at" in tagged.explain_search("acme:3", VECTORS[1], 9)
        found = tagged.search("acme:3", VECTORS[1], 1000)
    assert {hit.namespace for hit in found} == {"acme:3"}
    assert len(found) == 240
