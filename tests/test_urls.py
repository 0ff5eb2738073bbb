"""URLs are read as libpq reads them, passwords stay inside, and server errors become our classes."""

from __future__ import annotations

import time
import traceback

import psycopg
import pytest
import servers

import kompanion_db
from kompanion_db import errors
from kompanion_db.pg_errors import translate, translated
from kompanion_db.urls import connection_args, display_url, redact

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://h/d", {"host": "h", "dbname": "d"}),
        ("postgres://u:p@h:1/d", {"user": "u", "password": "p", "host": "h", "port": "1", "dbname": "d"}),
        ("postgresql+psycopg://u@h/d", {"user": "u", "host": "h", "dbname": "d"}),
        ("kompanion+postgresql://u@h/d", {"user": "u", "host": "h", "dbname": "d"}),
        (
            "postgresql:///d?host=/tmp/x&application_name=a%20b",
            {"host": "/tmp/x", "dbname": "d", "application_name": "a b"},
        ),
        ("postgresql://u:p%40%2F%3A@h/d", {"user": "u", "password": "p@/:", "host": "h", "dbname": "d"}),
        ("postgresql://u:p@ss@h/d", {"user": "u", "password": "p@ss", "host": "h", "dbname": "d"}),
        ("postgresql://a:1,b:2/d", {"host": "a,b", "port": "1,2", "dbname": "d"}),
        ("host=h password='a b' dbname=d", {"host": "h", "password": "a b", "dbname": "d"}),
    ],
)
def test_every_usual_form_is_read(url: str, expected: dict[str, str]) -> None:
    assert connection_args(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{SECRET}@h/d",
        f"postgresql://u:{SECRET}@x@h/d",
        f"postgresql://u:a@{SECRET}@h/d",
        f"postgresql://u:a/{SECRET}@h/d",
        f"postgresql://u:a/{SECRET}@h/d?application_name=x@y",
        f"postgresql://u:a#{SECRET}@h/d",
        f"postgresql://u:a?{SECRET}@h/d",
        f"postgresql://u:%{SECRET}@h/d",
        f"postgresql:///d?user=u&password={SECRET}&host=h",
        f"postgresql:///d?sslpassword={SECRET}",
        f"host=h password={SECRET}",
        f"host=h passwd={SECRET}",
        f"postgresql:///d?oauth_client_secret={SECRET}&port=x",
        f"host=h PASSWORD = 'it''s {SECRET}' user=u",
        f"host=h password='a\\' {SECRET}' nonsense",
        f"mysql://u:{SECRET}@h/d",
    ],
)
def test_no_form_of_url_lets_its_password_out(url: str) -> None:
    assert SECRET not in redact(url)
    refusal: errors.BadArgument | None = None
    try:
        assert SECRET not in display_url(connection_args(url))
    except errors.BadArgument as exc:
        refusal = exc
    shown = "".join(traceback.format_exception(refusal)) if refusal else ""
    assert SECRET not in shown, "libpq's own words would quote the URL"


@pytest.mark.parametrize("url", [f"postgresql:/u:{SECRET}@h/d", f"postgresql:u:{SECRET}@h/d", f"u:{SECRET}@h/d"])
def test_a_url_without_its_scheme_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(errors.BadArgument, match=r"^url: not a PostgreSQL URL") as refusal:
        kompanion_db.connect(url)
    assert SECRET not in "".join(traceback.format_exception(refusal.value))


def test_a_server_named_by_the_scheme_of_a_file_is_refused_without_its_password() -> None:
    with pytest.raises(errors.BadArgument, match=r"^url: no file is named by sqlite://u:\*\*\*@h/d"):
        kompanion_db.connect(f"sqlite://u:{SECRET}@h/d")


@pytest.mark.parametrize("url", ["notes.db", "sqlite3:///notes.db", "file:notes.db"])
def test_who_names_a_file_by_another_form_is_told_that_of_a_file(url: str) -> None:
    with pytest.raises(errors.BadArgument, match=r"or sqlite:///notes\.db for a file"):
        kompanion_db.connect(url)


def test_a_url_without_a_password_is_shown_as_it_is() -> None:
    for url in (
        "postgresql://u@h:5432/d?application_name=x",
        "postgresql:///d?host=/tmp",
        "embedded:./memory",
    ):
        assert redact(url) == url
    for url in ("postgresql://u@h:5433/d", "postgresql://u@/d?host=/tmp/a b&port=5433".replace(" ", "+")):
        assert display_url(connection_args(url.replace("+", "%20"))) == url


@pytest.mark.parametrize("state", [f"KM{n:03}" for n in range(1, 21)])
def test_a_code_of_ours_becomes_its_class_with_message_detail_and_hint(one_db: servers.Database, state: str) -> None:
    values = f"errcode = '{state}', message = 'm', detail = 'd', hint = 'h'"
    raising = f"do $$ begin raise exception using {values}; end $$"
    with one_db.connect() as conn, pytest.raises(errors.BY_SQLSTATE[state]) as caught, translated():
        conn.execute(raising)
    error = caught.value
    assert (error.sqlstate, error.message, error.detail, error.hint) == (state, "m", "d", "h")
    assert isinstance(error.__cause__, psycopg.Error)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("set role pg_monitor; select * from pg_authid", errors.PermissionDenied),
        ("do $$ begin raise exception using errcode = '53100'; end $$", errors.StorageFull),
        ("do $$ begin raise exception using errcode = '57P01'; end $$", errors.ConnectionFailed),
        ("do $$ begin raise exception using errcode = '08006'; end $$", errors.ConnectionFailed),
        ("select pg_terminate_backend(pg_backend_pid())", errors.ConnectionFailed),
        ("do $$ begin raise exception using errcode = '25P03'; end $$", errors.ConnectionFailed),
        ("select 1 / 0", errors.BadArgument),
        ("select * from nowhere", errors.KompanionError),
        ("set statement_timeout = 1; select pg_sleep(1)", errors.KompanionError),
    ],
)
def test_a_code_of_the_server_becomes_the_class_users_can_act_on(
    one_db: servers.Database, sql: str, expected: type[errors.KompanionError]
) -> None:
    with one_db.connect() as conn, pytest.raises(errors.KompanionError) as caught, translated():
        conn.execute(sql)
    assert type(caught.value) is expected
    assert caught.value.message


def test_a_transaction_that_idles_too_long_has_lost_its_connection(one_db: servers.Database) -> None:
    with kompanion_db.connect(one_db.url) as store:

        def idle() -> None:
            with store.transaction():
                store.upsert_item("acme", "k", "text")
                with store._connection() as conn:  # type: ignore[attr-defined]
                    conn.execute("set idle_in_transaction_session_timeout = 1")
                time.sleep(0.2)
                store.upsert_item("acme", "other", "text")

        with pytest.raises(errors.ConnectionFailed, match="idle-in-transaction") as caught:
            idle()
        assert caught.value.hint
        assert store.list_items("acme") == []


@pytest.mark.parametrize(
    ("state", "way_out"),
    [
        ("23503", "try again"),
        ("25006", "on the primary"),
        ("26000", "prepare=False"),
        ("40001", "Try the transaction again"),
        ("40P01", "Try the transaction again"),
        ("42P05", "prepare=False"),
        ("55P03", "try again"),
        ("57014", "raise statement_timeout"),
    ],
)
def test_what_the_server_refuses_for_others_or_for_now_has_a_way_out(
    one_db: servers.Database, state: str, way_out: str
) -> None:
    with one_db.connect() as conn, pytest.raises(errors.KompanionError) as caught, translated():
        conn.execute(f"do $$ begin raise exception using errcode = '{state}'; end $$")
    assert way_out in (caught.value.hint or "")
    assert caught.value.sqlstate == state  # to decide by, as whether to try again


def test_a_server_out_of_reach_and_a_closed_connection_are_failed_connections(
    one_db: servers.Database,
) -> None:
    missing = one_db.server.url("no_such_database")
    for url in ("postgresql://localhost:1/d", "postgresql:///d?host=/nonexistent", missing):
        with pytest.raises(errors.ConnectionFailed), translated():
            psycopg.connect(url)
    conn = one_db.connect()
    conn.close()
    with pytest.raises(errors.ConnectionFailed), translated():
        conn.execute("select 1")
    assert isinstance(translate(psycopg.InterfaceError("x")), errors.ConnectionFailed)
