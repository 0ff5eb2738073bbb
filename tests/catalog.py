"""What a database holds of kompanion_db, as text that two databases can be compared by."""

from __future__ import annotations

import servers

from kompanion_db.dev import golden


def dump(db: servers.Database) -> str:
    """The schema kompanion by the server's own pg_dump, cleaned, history tables included."""
    return golden.dump(db.url, db.server.bin_dir)


def history(db: servers.Database) -> list[str]:
    """The ids of the migrations recorded as applied, in their order; [] before installation."""
    with db.connect() as conn:
        if conn.execute("select to_regclass('kompanion._yoyo_migration')").fetchone() == (None,):
            return []
        rows = conn.execute("select migration_id from kompanion._yoyo_migration order by 1").fetchall()
    return [row[0] for row in rows]


def objects(db: servers.Database) -> list[str]:
    """What stands in the schema kompanion besides the history tables: relations, functions, types."""
    sql = """
        select c.relname::text from pg_class c where c.relnamespace = 'kompanion'::regnamespace
        union all select p.proname::text from pg_proc p where p.pronamespace = 'kompanion'::regnamespace
        union all select t.typname::text from pg_type t where t.typnamespace = 'kompanion'::regnamespace
    """
    with db.connect() as conn:
        names = [row[0] for row in conn.execute(sql).fetchall()]
    return sorted(name for name in names if "_yoyo_" not in name)
