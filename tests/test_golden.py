"""The generated files a reviewer reads are those of today's migrations."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest
import servers

from kompanion_db.dev import api_docs, golden, sqlite_api, sqlite_schema
from kompanion_db.dev.output import sql_folder
from kompanion_db.migrate import migrations_folder
from kompanion_db.sqlite.tables.listing import listed


@pytest.fixture(scope="module")
def migrated(pg18: servers.Server) -> Iterator[servers.Database]:
    database = pg18.create(pg18.template)
    yield database
    database.drop()


def test_schema_sql_is_what_the_migrations_make_today(migrated: servers.Database) -> None:
    text = golden.render_from(migrated.url, migrated.server.bin_dir)
    assert (sql_folder() / "schema.sql").read_text() == text, "run: python -m kompanion_db.dev.golden"


def test_api_md_says_what_the_catalog_says_today(migrated: servers.Database) -> None:
    text = api_docs.render_from(migrated.url)
    assert (sql_folder() / "API.md").read_text() == text, "run: python -m kompanion_db.dev.api_docs"


def test_api_md_describes_every_public_thing(migrated: servers.Database) -> None:
    text = api_docs.render_from(migrated.url)
    assert "(no comment)" not in text
    assert "## Other functions" not in text


@pytest.mark.parametrize(("name", "module"), [("schema.sql", sqlite_schema), ("API.md", sqlite_api)])
def test_what_is_generated_for_sqlite_is_of_today(name: str, module: ModuleType) -> None:
    text = (migrations_folder("sqlite").parent / name).read_text()
    assert text == module.render(), f"run: python -m {module.__name__}"


def test_every_function_of_sqlite_says_what_it_does() -> None:
    assert not [name for name, _, _, _, description in listed() if not description]
