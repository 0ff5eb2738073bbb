"""``sql/install.psql``: the migrations as one psql script that records them as ``migrate`` does."""

from __future__ import annotations

from pathlib import Path

from yoyo.migrations import get_migration_hash

from ..migrate import migration_ids, migrations_folder
from ..yoyo_postgres import HISTORY_EXISTS_SQL, HISTORY_SQL, LOCK_KEY
from .output import main

_HEAD = r"""-- Installs or upgrades kompanion_db with psql alone:
--
--     psql --no-psqlrc -d <database> -f install.psql
--
-- Generated from sql/migrations by `python -m kompanion_db.dev.install_script`; do not edit.
-- Each migration and its record are one transaction, so a run that fails can be repeated.
-- Run again on a database that has everything, it changes nothing and ends with status 0.
\if :{?kompanion_path}
-- An earlier run of this session broke off: how the session was before that is known.
\else
\set kompanion_stop :ON_ERROR_STOP
\set kompanion_rollback :ON_ERROR_ROLLBACK
\set kompanion_autocommit :AUTOCOMMIT
\set kompanion_quiet :QUIET
select pg_catalog.current_setting('search_path') as kompanion_path \gset
\endif
\set ON_ERROR_STOP on
\set ON_ERROR_ROLLBACK off
\set AUTOCOMMIT on
\set QUIET on
\set kompanion_done 0
-- The server's own functions and operators alone: what fits better, in a schema of the session's path where anybody
-- may create objects, would run with the rights of who installs.
set search_path = pg_catalog, pg_temp;
set client_min_messages = warning;
set standard_conforming_strings = on;

-- The lock that `kompanion-db migrate` takes; it ends with this session.
do $lock$
declare
    v_holder text;
begin
    for i in 1 .. 600 loop
        if pg_catalog.pg_try_advisory_lock(@KEYS@) then
            return;
        end if;
        perform pg_catalog.pg_sleep(0.1);
    end loop;
    select format('Held by pid %s (%s), connected since %s.', l.pid, a.application_name, a.backend_start)
    into v_holder
    from pg_catalog.pg_locks l
    left join pg_catalog.pg_stat_activity a on a.pid = l.pid
    where l.locktype = 'advisory' and l.granted and (l.classid, l.objid, l.objsubid) = (@KEYS@, 2)
      and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database());
    raise exception using
        errcode = 'KM015',
        message = 'another process is migrating this database and did not finish within 60 s',
        detail  = coalesce(v_holder, 'Its holder has just gone.');
end
$lock$;

-- The schema and the history of migrations in it (the tables of yoyo-migrations 9).
select not exists (select from pg_catalog.pg_namespace where nspname = 'kompanion') as kompanion_new \gset
@EXISTS@ as kompanion_history \gset
begin;
\if :kompanion_new
create schema kompanion;
\endif
\if :kompanion_history
\else
@HISTORY@
\endif
commit;

-- A newer database is left alone.
do $newer$
declare
    v_unknown text := (
        select string_agg(m.migration_id, ', ' order by m.migration_id)
        from kompanion._yoyo_migration m
        where m.migration_id not in (
            @IDS@
        )
    );
begin
    if v_unknown is not null then
        raise exception using
            errcode = 'KM014',
            message = 'the schema in this database is newer than this script',
            detail  = format('Applied, and unknown here: %s.', v_unknown),
            hint    = 'Use the install.psql of the newer version.';
    end if;
end
$newer$;
"""

_STEP = r"""
-- ---------------------------------------------------------------------------------------------------
-- @ID@
select not exists (
    select from kompanion._yoyo_migration where migration_hash = '@HASH@'
) as kompanion_pending \gset
\if :kompanion_pending
\echo applying @ID@
begin;
@TEXT@
insert into kompanion._yoyo_log (id, migration_hash, migration_id, operation, username, created_at_utc)
values (gen_random_uuid()::text, '@HASH@',
        '@ID@', 'apply', session_user, clock_timestamp() at time zone 'utc');
insert into kompanion._yoyo_migration (migration_hash, migration_id, applied_at_utc)
values ('@HASH@',
        '@ID@', clock_timestamp() at time zone 'utc');
commit;
\set kompanion_done 1
\endif
"""

_TAIL = r"""
select pg_catalog.pg_advisory_unlock(@KEYS@) as kompanion_unlocked \gset
\if :kompanion_done
\echo kompanion_db is installed, up to @LAST@
\else
\echo kompanion_db is installed already, up to @LAST@: nothing was changed
\endif

-- Where this was read with \i, the session goes on as it was.
select pg_catalog.set_config('search_path', :'kompanion_path', false) as kompanion_path \gset
\unset kompanion_path
reset client_min_messages;
reset standard_conforming_strings;
\set ON_ERROR_STOP :kompanion_stop
\set ON_ERROR_ROLLBACK :kompanion_rollback
\set AUTOCOMMIT :kompanion_autocommit
\set QUIET :kompanion_quiet
"""


def render(folder: Path | None = None) -> str:
    """The text of install.psql for the migrations in ``folder`` (default: the package's)."""
    folder = folder or migrations_folder()
    ids = migration_ids(folder)
    values = {
        "@KEYS@": f"{LOCK_KEY[0]}, {LOCK_KEY[1]}",
        "@EXISTS@": HISTORY_EXISTS_SQL.strip(),
        "@HISTORY@": ";\n".join(HISTORY_SQL) + ";",
        "@IDS@": ",\n            ".join(f"'{name}'" for name in ids),
        "@LAST@": ids[-1],
    }
    parts = [_fill(_HEAD, values)]
    for name in ids:
        text = (folder / f"{name}.sql").read_text(encoding="ascii").rstrip("\n")
        parts.append(_fill(_STEP, {"@ID@": name, "@HASH@": get_migration_hash(name), "@TEXT@": text}))
    parts.append(_fill(_TAIL, values))
    return "".join(parts)


def _fill(template: str, values: dict[str, str]) -> str:
    for key, value in values.items():
        template = template.replace(key, value)
    return template


if __name__ == "__main__":
    main("sql/install.psql", render, "install_script")
