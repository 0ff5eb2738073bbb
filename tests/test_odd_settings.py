"""Settings of a server, database or role that change how SQL is read or shown change nothing here."""

from __future__ import annotations

import catalog
import psycopg
import pytest
import samples
import servers
from test_transfer import by_name

import kompanion_db
from kompanion_db.migrate import migrate, status

ODD = {
    "standard_conforming_strings": "off",
    "quote_all_identifiers": "on",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "extra_float_digits": "-5",
    "bytea_output": "escape",
    "datestyle": "German",
    "intervalstyle": "sql_standard",
    "search_path": "pg_temp, pg_catalog",
}


def test_settings_of_a_database_change_no_meaning(one_db: servers.Database, one_empty_db: servers.Database) -> None:
    migrate(one_empty_db.url, target="pg_0001")
    for name, value in ODD.items():
        one_empty_db.server.run(f"alter database {one_empty_db.name} set {name} = '{value}'")
    migrate(one_empty_db.url)
    usual = kompanion_db.connect(one_db.url)
    odd = kompanion_db.connect(one_empty_db.url)
    with usual, odd:
        samples.fill(usual)
        usual.upsert_items([samples.bulk_item(n) for n in range(9)])
        documents = samples.exported(usual)
        odd.import_documents(documents)
        assert by_name(samples.exported(odd)) == by_name(documents)
        odd.upsert_items([samples.bulk_item(n) for n in range(5, 20)])
        assert odd.search("load", [1, 0, 0.5], 3) == odd.search("load", [1, 0, 0.5], 3, filter={"n": {"$lt": 20}})
        odd.ensure_namespace("b\u00fcro:\u6771\u4eac")
        with one_empty_db.connect() as conn:
            with pytest.raises(psycopg.DatabaseError, match="retention_deleted"):
                conn.execute("select kompanion.set_setting('retention_deleted', '\"7\"')")
            conn.execute("select kompanion.set_setting('index_min_rows', '10')")
        assert r"select statement from kompanion.index_statements('small') \gexec" in [
            advice.statement for advice in odd.index_advice()
        ]
    for name in ODD:
        one_empty_db.server.run(f"alter database {one_empty_db.name} reset {name}")
    assert catalog.dump(one_empty_db) == catalog.dump(one_db)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_the_encoding_of_clients_that_a_database_sets_is_not_asked_for(
    one_empty_db: servers.Database, encoding: str
) -> None:
    one_empty_db.server.run(f"alter database {one_empty_db.name} set client_encoding = '{encoding}'")
    migrate(one_empty_db.url, target="pg_0001")
    migrate(one_empty_db.url)
    assert migrate(one_empty_db.url) == []
    assert all(migration.applied and migration.in_package for migration in status(one_empty_db.url))
    with kompanion_db.connect(one_empty_db.url) as store:
        store.upsert_item("b\u00fcro", "\u6771\u4eac", "\U0001f600")
        assert [item.content for item in store.list_items("b\u00fcro")] == ["\U0001f600"]
