"""Documents that no export writes: an import takes them as a server does, on either engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import engines
import pytest
import samples

import kompanion_db
from kompanion_db.copying import copy
from kompanion_db.errors import BadArgument

CREATED = "2024-01-01T00:00:00+00:00"


@pytest.mark.parametrize("vector", ["[1e20,0,0]", "[3e38,3e38,0]", [1e-20, 1e-20, 0], "[1e-40,0,0]"])
def test_a_vector_that_is_too_long_or_too_short_for_its_distances_is_refused(
    one_home: engines.Home, vector: Any
) -> None:
    with kompanion_db.connect(one_home.url) as store, one_home.by_hand() as hand:
        samples.fill(store)
        document = next(d for d in store.export_items()[0] if d["key"] == "long")
        hand.delete("memory_items", key="long")
        document["chunks"][1]["vectors"][0]["vector"] = vector
        with pytest.raises(BadArgument, match="documents"):
            store.import_documents([document])
        assert store.get_item("acme:ann", "long") is None


@pytest.mark.parametrize("kind", ["thread", "user"])
def test_of_two_threads_or_users_of_one_id_the_first_is_kept(one_home: engines.Home, kind: str) -> None:
    own_id = {f"{kind}_id": "00000000-0000-0000-0000-000000000001"}
    place: dict[str, Any] = {"kind": "namespace", "path": "acme", "created_at": CREATED}
    first = {"kind": kind, "namespace": "acme", "key": "first", "metadata": {}, "created_at": CREATED, **own_id}
    with kompanion_db.connect(one_home.url) as store, one_home.by_hand() as hand:
        assert store.import_documents([place, first, first | {"key": "second"}]).registry == 2
        assert store.import_documents([place, first | {"key": "third"}]).registry == 0
        assert hand.rows(f"{kind}s", "key") == [("first",)]


@pytest.mark.parametrize("value", ["maybe", 5.5, [], {}])
def test_a_model_is_the_default_or_not_and_nothing_else(one_home: engines.Home, value: Any) -> None:
    with kompanion_db.connect(one_home.url) as store:
        store.register_model("first", 2)
        model = {"kind": "model", "name": "second", "dim": 2, "metric": "cosine", "is_default": value}
        with pytest.raises(BadArgument, match="documents"):
            store.import_documents([model])
        assert store.import_documents([model | {"is_default": False}, model | {"is_default": None}]).registry == 2
        assert [m.model for m in store.list_models() if m.is_default] == ["first"]


def test_a_default_as_text_switches_no_default_of_a_file(tmp_path: Path) -> None:
    with kompanion_db.connect(f"sqlite:///{tmp_path}/a.db") as store:
        store.register_model("first", 2)
        for value in ("false", "true", "", 0, 1):
            model = {"kind": "model", "name": "second", "dim": 2, "metric": "cosine", "is_default": value}
            with pytest.raises(BadArgument, match="is_default is neither true nor false"):
                store.import_documents([model])
        assert [m.model for m in store.list_models()] == ["first"]


@pytest.mark.parametrize(("seconds", "kept"), [(86400 / 7, 12342.857143), (0.1, 0.1), (4e-7, 0), (90_061, 90_061)])
def test_a_retention_is_kept_to_the_microsecond_so_that_copies_of_it_are_equal(
    one_home: engines.Home, tmp_path: Path, seconds: float, kept: float
) -> None:
    setting = {"kind": "setting", "name": "retention_deleted", "value": seconds}
    with kompanion_db.connect(one_home.url) as store, kompanion_db.connect(f"sqlite:///{tmp_path}/a.db") as source:
        source.import_documents([setting])
        assert copy(source, store).digest == source.digest()
        store.import_documents([setting])
        assert {"kind": "setting", "name": "retention_deleted", "value": kept} in store.export_registry()
        assert store.digest() == source.digest()
