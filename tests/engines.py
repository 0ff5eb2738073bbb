"""The engines of a store, for the tests that are the same on each: the one place where the engine parameter lives.

A test that asks for ``store``, ``home`` or ``engine`` runs on every engine, one that asks for ``one_home`` or ``one_engine`` on
one of each kind (conftest.py). What cannot be the same on SQLite stands in NOT_ON_SQLITE, with the reason.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Protocol

import fasteners
import pytest
import servers
from by_hand import ByHand, SqliteByHand

from kompanion_db.migrate import migrate
from kompanion_db.sqlite import open_sql

COLLECTED = pytest.StashKey[list[pytest.Item]]()
"""All tests of the run, also those that it leaves out."""

_SQL = "is about a function of PostgreSQL's schema called in SQL"
_SERVER = "is about a server and its files"
_PLANS = "is about indexes and plans of PostgreSQL; test_sqlite_recall.py is about those of a file"
_CATALOG = "reads PostgreSQL's catalog; test_sqlite_schema.py is about that of a file"

NOT_ON_SQLITE = {
    "test_bad_input_sql.py": _SQL,
    "test_bench_data.py": "the benchmarks of recall are of PostgreSQL",
    "test_bench_lists.py": "the benchmarks of recall are of PostgreSQL",
    "test_bench_own_data.py": "the benchmarks of a server's writers are of PostgreSQL",
    "test_bench_records.py": "the benchmarks of recall are of PostgreSQL",
    "test_bench_runs.py": "the benchmarks of recall are of PostgreSQL",
    "test_calibration.py::test_a_calibration_whose_index_has_become_another": _PLANS,
    "test_calibration.py::test_a_new_index_makes": _PLANS,
    "test_calibration.py::test_an_index_that_has_almost": "a file has no index of three vectors",
    "test_calibration.py::test_every_metric": _PLANS,
    "test_catalog*": _CATALOG,
    "test_cli.py::test_an_empty_database": "a file is made and migrated when it is opened",
    "test_cli.py::test_ctrl_c": "only a server tells from outside that the command has connected",
    "test_cli.py::test_upkeep_commands": _PLANS,
    "test_cli_server.py": _SERVER,
    "test_cli_transfer.py::test_numbers_keep_every_digit": _SQL,
    "test_cli_tuning.py::test_an_index_is_built": _PLANS,
    "test_concurrency.py::test_a_namespace_that_is_being_restored": "a file has one writer at a time",
    "test_concurrency.py::test_sets_of_items_in_sql": _SQL,
    "test_concurrency.py::test_a_switch_of_the_default": "a file has one writer at a time",
    "test_connecting.py::test_a_pooler": "a file has no poolers",
    "test_connecting.py::test_a_task_that_waits_for_a_connection_of_a": "a file has no pool",
    "test_connecting.py::test_whoever_waits_for_a_connection_of_a": "a file has no pool",
    "test_copy.py::test_fifty_thousand_items": "goes from a server into a file and back",
    "test_copy.py::test_what_an_engine_exports": "goes from a server into a file and back",
    "test_curves.py": _PLANS,
    "test_difficulty.py": _PLANS,
    "test_disk_full.py": _SERVER,
    "test_docs.py": "the pages name their databases themselves",
    "test_dump_restore.py": "pg_dump; a file has backup()",
    "test_far_matches.py": _PLANS,
    "test_filter_indexes.py": _PLANS,
    "test_filters.py::test_any_filter_and_any_document": "test_sqlite_filters.py has the law for what SQLite makes of them",
    "test_filters.py::test_deeper_nesting_is_refused_by_sql": _SQL,
    "test_filters.py::test_a_filter_that_would_be_much_larger": _SQL,
    "test_blocks_undone.py::test_a_block_whose_connection_was_lost": "a file has no connection to lose",
    "test_blocks_undone.py::test_on_a_server_a_block_of_tasks": "a call that fails undoes itself alone in a file",
    "test_blocks_undone.py::test_on_a_server_a_block_whose": "a call that fails undoes itself alone in a file",
    "test_forks.py::test_a_child_that_connects_again": "SQLite in a child takes the locks of its parent for its own",
    "test_golden.py": _CATALOG,
    "test_gone_neighbours.py": _PLANS,
    "test_index_builds.py": _PLANS,
    "test_new_topics.py": _PLANS,
    "test_odd_calibrations.py::test_where_most": _PLANS,
    "test_odd_calibrations.py::test_what_stands_in_a_calibration": "a file has no roles",
    "test_odd_settings.py": "a file has no settings of a server",
    "test_scopes.py::test_a_namespace_made_by_hand": "a file keeps no segments",
    "test_scope_scans.py": _PLANS,
    "test_unknown_scans.py": _PLANS,
    "test_embedded_scans.py": _PLANS,
    "test_upkeep_scans.py": _PLANS,
    "test_index_choice.py": _PLANS,
    "test_install_*": "psql installs no file",
    "test_kept_statements.py": _PLANS,
    "test_metadata.py::test_what_metadata_takes": "compares Python's measure with the server's",
    "test_metadata.py::test_metadata_of_more_levels_is_refused_from_psql": "the check of the server",
    "test_metadata.py::test_what_a_statement_on_the_tables": "goes from a server into a file",
    "test_loads.py::test_a_database_may_show_dates": "a file shows times in one style",
    "test_loads.py::test_a_load_that_is_run_again": "is about the places of rows, which a file has not",
    "test_migrate.py": "advisory locks, extensions and roles; test_sqlite_schema.py is about a file",
    "test_models.py::test_writers_do_not_wait": "a file has one writer at a time",
    "test_models.py::test_registering_a_model_again_does_not_wait": "a file has one writer at a time",
    "test_no_threads.py::test_a_load_whose": "a file has one writer at a time",
    "test_rare_tags.py": _PLANS,
    "test_pools.py": "a file has no sessions of a server",
    "test_recall.py": _PLANS,
    "test_recovery.py": _SERVER,
    "test_replication.py": _SERVER,
    "test_roles.py": "a file has no roles",
    "test_hidden_rows.py": "a file has no roles",
    "test_scopes.py::test_python_and_sql_refuse": "SQLite's functions call Python's rules for paths",
    "test_scopes.py::test_the_id_of_a_path": "SQLite's functions call Python's rules for paths",
    "test_scopes.py::test_the_letters_a_segment": "SQLite's functions call Python's rules for paths",
    "test_search_index.py": _PLANS,
    "test_small_scopes.py": _PLANS,
    "test_sql_scripts.py": _SQL,
    "test_sqlite_sql.py::test_functions_have_the_arguments": "compares the two engines",
    "test_sqlite_files.py::test_a_store_on_a_server": _SERVER,
    "test_staging.py": _SQL,
    "test_text_arguments.py::test_no_fragment_of_sql": _SQL,
    "test_true_nearest.py": _PLANS,
    "test_turns.py::test_a_closed_store": "a file has one writer at a time",
    "test_turns.py::test_a_load_whose_store": "a file has one writer at a time",
    "test_turns.py::test_once_a_store_is_closed_nothing_is_kept_of_a_load_that_was_broken_off": "a file has one writer at a time",
    "test_turns.py::test_once_a_store_is_closed_nothing_is_kept_of_a_load_that_was_cancelled": "a file has one writer at a time",
    "test_tuning.py::test_memory_for_a_build": _PLANS,
    "test_tuning.py::test_an_outgrown_index": _PLANS,
    "test_tuning.py::test_a_calibration_that_broke_off": _PLANS,
    "test_half_precision.py::test_half_precision": _PLANS,
    "test_half_precision.py::test_a_number_too_large": _PLANS,
    "test_half_precision.py::test_a_vector_too_short": _PLANS,
    "test_half_precision.py::test_what_is_in_half_precision": _PLANS,
    "test_tuning.py::test_hnsw_is_left_out": _PLANS,
    "test_tuning.py::test_the_best_candidate": _PLANS,
    "test_tuning.py::test_tuning_builds": _PLANS,
    "test_tuning.py::test_tuning_fails_with": _PLANS,
    "test_tuning.py::test_tuning_that_is_cancelled": _PLANS,
    "test_half_precision.py::test_vectors_of_3000_dimensions": _PLANS,
    "test_half_precision.py::test_vectors_of_more_dimensions": _PLANS,
    "test_tuning.py::test_what_maintenance_work_mem": _PLANS,
    "test_copy.py::test_an_item_too_large": "a document of a file may be larger",
    "test_urls.py::test_a_code_of_ours": _SQL,
    "test_urls.py::test_a_code_of_the_server": _SQL,
    "test_urls.py::test_a_server_out_of_reach": _SERVER,
    "test_urls.py::test_a_transaction_that_idles": _SERVER,
    "test_urls.py::test_what_the_server_refuses": _SQL,
    "test_while_measuring.py": _PLANS,
    "test_waiting.py": "a file has one writer at a time",
    "test_while_writing.py": "a file has one writer at a time, and it is in no transaction of repeatable read",
    "test_workers.py::test_a_killed_worker*uncommitted": "the one writer of a file waits for the worker's transaction to end",
}
"""File, or file and the beginning of a test, with wildcards -> why it runs on PostgreSQL alone."""


class Home(Protocol):
    """Where a store of a test's own is, and what else can be done there."""

    @property
    def key(self) -> str:
        """The engine, by its key."""

    @property
    def url(self) -> str:
        """What connect() takes."""

    def by_hand(self) -> AbstractContextManager[ByHand]:
        """The tables, past the store."""

    def drop(self) -> None:
        """Remove it."""


class Engine(Protocol):
    """Something that stores are kept in."""

    key: str

    def home(self) -> Home:
        """An empty store, migrated."""

    def empty_home(self) -> Home:
        """A place where no store is yet."""


@dataclass
class SqliteHome:
    """A file in a folder of its own."""

    folder: Path
    key: str = "sqlite"

    @property
    def url(self) -> str:
        # As with the servers: what a power cut would undo is of no interest here.
        return f"sqlite:///{self.folder / 'x.db'}?synchronous=normal"

    @contextmanager
    def by_hand(self) -> Iterator[ByHand]:
        with closing(open_sql(self.url)) as conn:
            yield SqliteByHand(conn)

    def drop(self) -> None:
        shutil.rmtree(self.folder)


class SqliteEngine:
    """Files in the folder of the run; each begins as a copy of one that is migrated."""

    key = "sqlite"

    def __init__(self) -> None:
        self.root = Path(os.environ[servers.ROOT_VAR]) / self.key
        self.template = self.root / "template.db"
        with fasteners.InterProcessLock(str(self.root.with_suffix(".lock"))):
            if not self.template.exists():
                self.root.mkdir(exist_ok=True)
                draft = self.root / "draft.db"
                migrate(f"sqlite:///{draft}")
                draft.rename(self.template)

    def empty_home(self) -> SqliteHome:
        folder = self.root / uuid.uuid4().hex
        folder.mkdir()
        return SqliteHome(folder)

    def home(self) -> SqliteHome:
        made = self.empty_home()
        shutil.copyfile(self.template, made.folder / "x.db")
        return made


def wanted() -> list[str]:
    """The keys of the engines to test on: KOMPANION_TEST_DSN is one server, KOMPANION_TEST_SERVERS=pg18,sqlite narrows."""
    names = os.environ.get("KOMPANION_TEST_SERVERS", "")
    own = bool(os.environ.get("KOMPANION_TEST_DSN"))
    return [*servers.wanted(), *(["sqlite"] if not own and (not names or "sqlite" in names.split(",")) else [])]


def one_of_each() -> list[str]:
    """The first server and SQLite, as far as they are wanted."""
    return [*servers.wanted()[:1], *(["sqlite"] if "sqlite" in wanted() else [])]


@cache
def get(key: str) -> Engine:
    """The engine of this key; a server is started at its first use."""
    return SqliteEngine() if key == "sqlite" else servers.running(key)


def why_not(nodeid: str) -> str | None:
    """Why a test runs on PostgreSQL alone, by its node id; None when it does not have to."""
    name = nodeid.partition("tests/")[2] or nodeid
    listed = NOT_ON_SQLITE
    return next((why for tests, why in listed.items() if fnmatchcase(name, f"{tests.replace(']', '[]]')}*")), None)


def is_on_sqlite(item: pytest.Item) -> bool:
    """Whether a collected test is the one of SQLite."""
    params = getattr(item, "callspec", None)
    return params is not None and "sqlite" in (params.params.get("engine"), params.params.get("one_engine"))
