"""The sweep of lists and probes, and which of its points the tuner's choice is measured beside."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import psycopg
import pytest
import servers

import kompanion_db
from bench import command, ivfflat_lists, plans, tuned_lists


def points(lists: int, *recalls: float) -> list[dict[str, Any]]:
    """Points of one index at 1, 2, 3 ... probes, as long as there are probes and lists: a ms each, and one for all lists."""
    return [
        {"share": 1.0, "lists": lists, "probes": n, "recall": recall, "p50_ms": n + lists / 1000}
        for n, recall in enumerate(recalls, 1)
    ]


def test_the_sweep_goes_as_far_as_the_tuner_may() -> None:
    assert ivfflat_lists.grid(10_000) == [25, 50, 100, 200, 400, 800]


def test_the_fewest_probes_that_reach_a_target_are_found_as_closely_as_by_the_tuner() -> None:
    asked = []

    def measured(probes: int) -> float:
        asked.append(probes)
        return probes / 100

    recalls = {probes: probes / 100 for probes in (1, 16, 24, 32)}
    ivfflat_lists.close_in(recalls, 0.29, measured)
    assert asked == [28, 30, 29]
    ivfflat_lists.close_in(recalls, 0.5, measured)  # which none reaches
    assert asked == [28, 30, 29]


def test_a_rival_may_miss_the_target_by_as_much_as_the_tuner_may() -> None:
    swept = [*points(100, 0.8, 0.945, 0.97), *points(200, 0.5, 0.8, 0.952), *points(300, 0.5, 0.6, 0.7)]
    assert list(tuned_lists.rivals(swept, 0.95).values()) == [(100, 2), (100, 3), (200, 3)]
    assert tuned_lists.rivals(swept, 0.99) == {}


def test_rivals_are_of_the_values_of_lists_that_reach_the_target_soonest() -> None:
    swept = [p for lists in (400, 100, 300, 200) for p in points(lists, 0.96)]
    assert list(tuned_lists.rivals(swept, 0.95).values()) == [(100, 1), (200, 1), (300, 1)]


def test_indexes_that_cannot_stand_side_by_side_are_built_in_the_other_order_every_other_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built: list[int] = []
    monkeypatch.setattr(plans, "build", lambda _store, _kind, lists=0: built.append(lists))
    monkeypatch.setattr(tuned_lists, "point", lambda *_, **__: {"recall": 1.0, "p50_ms": 1.0})
    stub: Any = SimpleNamespace(refresh=lambda: None)
    tuned_lists.duel(stub, stub, stub, stub, {"tuner": (1, 1), "sweep 0": (2, 1), "sweep 1": (3, 1)}, 3)
    assert [lists for lists in built if lists] == [1, 2, 3, 3, 2, 1, 1, 2, 3]
    built.clear()
    found = tuned_lists.duel(stub, stub, stub, stub, {"tuner": (1, 1), "sweep 0": (2, 1), "sweep 1": (2, 3)}, 1)
    assert [lists for lists in built if lists] == [1, 2]  # one index for both
    assert [len(side["rounds"]) for side in found.values()] == [1, 1, 1]


def test_lists_that_take_more_memory_than_there_may_be_are_left_out_and_the_setting_is_named(
    one_db: servers.Database, capsys: pytest.CaptureFixture[str]
) -> None:
    small = psycopg.conninfo.make_conninfo(one_db.url, options="-c maintenance_work_mem=1MB")
    with kompanion_db.connect(small) as store:
        store.register_model(plans.MODEL, 8)
        vectors = np.random.default_rng(1).standard_normal((300, 8))
        store.upsert_items(kompanion_db.NewItem("a", str(n), "x", vectors=v[None]) for n, v in enumerate(vectors))
        assert ivfflat_lists.built(store, 10)
        assert not ivfflat_lists.built(store, 1500)
    assert "1500 lists are left out. memory required is" in (told := capsys.readouterr().err)
    assert "maintenance_work_mem" in told


def test_a_sweep_ends_with_the_statements_that_build_its_best_index_for_a_model_of_ones_own() -> None:
    swept: dict[str, Any] = {"points": [*points(100, 0.8, 0.96), *points(200, 0.96)]}
    told = ivfflat_lists.apply(swept, 0.95)
    assert r"select statement from kompanion.index_statements('MODEL', kind => 'ivfflat', lists => 200) \gexec" in told
    assert "kompanion.tune_index('MODEL', target_recall => 0.95)" in told
    swept |= {"duel": {"tuner": {"lists": 300}, "best": {"lists": 100}}, "near": True, "fast": True}
    assert "lists => 300" in ivfflat_lists.apply(swept, 0.95)
    assert "lists => 100" in ivfflat_lists.apply(swept | {"fast": False}, 0.95)


@pytest.mark.parametrize("lists", [3, 20, 60])
def test_all_that_a_picture_says_stays_inside_it_and_covers_nothing(lists: int) -> None:
    for package in command.PACKAGES:
        pytest.importorskip(package)
    from bench import picture

    figure, axis = picture.plt.subplots(figsize=(9.8, 4.9))
    about = {"cores": 2, "cpu": "a processor " * 30, "postgresql": "18.4", "pgvector": "0.8.5"}
    picture.titled(figure, f"lists: {'a name of a file ' * 20}: 0.12 of COPY", about)
    picture.layout(figure, right=0.85)
    picture.end_labels(axis, [(1.0, 1.0, f"{n} lists of some longer name", "#000000") for n in range(lists)])
    labels = sorted((text.get_window_extent() for text in axis.texts), key=lambda box: box.y0)
    title, small = (text.get_window_extent() for text in figure.texts)
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.width for box in (*labels, title, small))
    assert labels[0].y0 >= 0
    assert labels[-1].y1 <= small.y0
    assert all(lower.y1 <= upper.y0 + 1 for lower, upper in itertools.pairwise(labels))
    assert figure.texts[0].get_text().endswith(": 0.12 of COPY")
    picture.plt.close(figure)
