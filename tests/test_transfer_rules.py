"""What an import lets in obeys the rules of what is written here: nothing comes in that could not be gone back to or copied on."""

from __future__ import annotations

from typing import Any

import engines
import pytest

from kompanion_db import connect
from kompanion_db.errors import BadArgument

SINCE = "2026-01-01T00:00:00+00:00"
FIRST = {"revision": 1, "key": "k", "content": "before", "metadata": {}, "tags": [], "updated_at": SINCE,
         "superseded_at": "2026-02-01T00:00:00+00:00"}  # fmt: skip
ITEM = {"kind": "item", "namespace": "a", "item_id": "7d444840-9dc0-11d1-b245-5ffdce74fad2", "key": "k", "content": "now",
        "metadata": {}, "tags": [], "revision": 2, "content_revision": 2, "created_at": SINCE,
        "updated_at": "2026-02-01T00:00:00+00:00", "revisions": [FIRST], "chunks": []}  # fmt: skip
REGISTRY = [{"kind": "export", "format": 2}, {"kind": "namespace", "path": "a", "created_at": SINCE}]


def test_a_revision_that_obeys_the_rules_comes_in_and_can_be_gone_back_to(one_home: engines.Home) -> None:
    with connect(one_home.url) as store:
        assert store.import_documents([*REGISTRY, ITEM]).items == 1
        assert store.revert_item("a", "k", 1).revision == 3
        found = store.get_item("a", "k")
        assert found is not None
        assert found.content == "before"


@pytest.mark.parametrize("change", [{"metadata": "text"}, {"metadata": [1]}, {"key": ""}, {"key": "k" * 513}], ids=str)
def test_a_revision_that_no_item_could_be_is_refused(one_home: engines.Home, change: dict[str, Any]) -> None:
    with connect(one_home.url) as store:
        with pytest.raises(BadArgument, match="documents"):
            store.import_documents([*REGISTRY, ITEM | {"revisions": [FIRST | change]}])
        assert store.get_item("a", "k") is None


@pytest.mark.parametrize("key", ["", "k" * 513])
@pytest.mark.parametrize("kind", ["thread", "user"])
def test_a_thread_or_user_of_a_name_that_cannot_be_is_refused(one_home: engines.Home, kind: str, key: str) -> None:
    one = {
        "kind": kind,
        "namespace": "a",
        f"{kind}_id": ITEM["item_id"],
        "key": key,
        "metadata": {},
        "created_at": SINCE,
    }
    with connect(one_home.url) as store, pytest.raises(BadArgument, match="documents"):
        store.import_documents([*REGISTRY, one])
