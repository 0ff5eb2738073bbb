"""What is stored or asked may be odd: a calibration measures what can be measured, and search keeps its promise."""

from __future__ import annotations

import clusters
import numpy as np
import psycopg
import pytest
import servers
from clusters import DIM, QUERIES
from logins import login

import kompanion_db


@pytest.mark.parametrize("given", [True, False], ids=["asked", "stored"])
def test_a_zero_vector_which_an_inner_product_allows_is_measured_with_like_any_other(
    store: kompanion_db.Store, given: bool
) -> None:
    store.register_model("m", DIM, metric="inner_product")
    store.upsert_items(clusters.items(range(300)))
    store.upsert_items(
        {"namespace": "acme", "key": f"z{n}", "content": "t", "vectors": [np.zeros(DIM)]} for n in range(300)
    )
    store.ensure_index("m", kind="ivfflat", lists=10)
    queries = [np.zeros(DIM), *QUERIES[:9]] if given else None
    assert all(point.runs > 0 for point in store.calibrate("m", sample=40, queries=queries))
    assert len(store.search("acme", np.zeros(DIM), 10, target_recall=0.9)) == 10


def test_where_most_of_what_an_index_learned_is_gone_a_calibration_asks_what_came_since(
    pg_store: kompanion_db.Store, db: servers.Database
) -> None:
    pg_store.register_model("m", DIM)
    pg_store.upsert_items(clusters.items(range(700)))
    pg_store.ensure_index("m", kind="ivfflat", lists=10)
    with db.connect() as conn:
        conn.execute("select kompanion.delete_item(i.namespace, i.key) from kompanion.live_items i")
    pg_store.upsert_items(clusters.items(range(700, 1300)))
    assert all(point.runs > 0 for point in pg_store.calibrate("m", sample=40))
    with db.connect() as conn:
        assert conn.execute("select calibration ->> 'queries' from kompanion.embedding_models").fetchall() == [("40",)]


def test_what_stands_in_a_calibration_is_never_run_with_the_rights_of_who_goes_on_with_it(
    pg_store: kompanion_db.Store, db: servers.Database
) -> None:
    pg_store.register_model("m", DIM)
    pg_store.upsert_items(clusters.items(range(300)))
    pg_store.ensure_index("m", kind="ivfflat", lists=10)
    pg_store.calibrate("m", sample=10)
    with login(db, "kompanion_admin") as url, psycopg.connect(url) as admin:
        admin.execute(
            "update kompanion.embedding_models set calibration = calibration || "
            """'{"complete": false, "look_rows": "length(set_config(''mine.ran_as'', current_user, false))"}'"""
        )
    with db.connect() as owner:
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            owner.execute("select * from kompanion.calibrate('m', sample => 20)")
        assert owner.execute("select current_setting('mine.ran_as', true)").fetchone() == (None,)
