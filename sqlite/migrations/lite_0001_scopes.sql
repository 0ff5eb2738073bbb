-- The registry of scopes: settings, namespaces, users, threads. Mirrors pg_0004_scopes.

-- Columns that end in _no are keys of this file alone; ids (BLOB, 16 bytes) and names are the same on every engine.
-- Times are microseconds since 1970 UTC. Metadata, tags and settings are JSONB: read with json(), written with jsonb().
create table settings (
    name        text    not null primary key,
    value       blob    not null check (json_valid(value, 8)),
    description text    not null,
    updated_at  integer not null default (cast(unixepoch('subsec') * 1000 as integer) * 1000)
) strict, without rowid;

insert into settings (name, value, description) values
    ('exact_threshold', jsonb('10000'), 'Matches up to which a search looks at all of them before anything is calibrated; above it the vector index is used when there is one; 1 to 1000000000.'),
    ('target_recall', jsonb('0.95'), 'recall@k a search aims at when it goes by an index and the caller names no target; 0.01 to 1.'),
    ('index_min_rows', jsonb('20000'), 'Vectors of a model from which a calibration is advised; indexes are built from 20000 on; 1 to 1000000000.'),
    ('embedding_lease', jsonb('600'), 'How long a batch handed out by pending_embeddings stays with its worker, in seconds, up to 1000 years.'),
    ('indexed_metadata', jsonb('{}'), 'Metadata keys that index_metadata_key built an index for, with their type; filters on them use it.'),
    ('retention_deleted', jsonb('2592000'), 'How long soft-deleted items and namespaces are kept before purge removes them, in seconds, up to 1000 years.'),
    ('retention_expired', jsonb('2592000'), 'How long expired items are kept before purge removes them, in seconds, up to 1000 years.'),
    ('retention_revisions', jsonb('null'), 'How long superseded revisions are kept before purge removes them, in seconds, up to 1000 years; null keeps them for ever.');

create table namespaces (
    namespace_no integer not null primary key,
    namespace_id blob    not null check (length(namespace_id) = 16),
    path         text    not null check (path <> ''),
    -- char(1) is in no path and sorts before all that is: what is below a scope is one range of this, segment by segment.
    sort_path    text    not null generated always as (replace(path, ':', char(1))) virtual,
    created_at   integer not null default (cast(unixepoch('subsec') * 1000 as integer) * 1000),
    deleted_at   integer,
    constraint namespaces_id_uq unique (namespace_id),
    constraint namespaces_path_uq unique (path)
) strict;
create index namespaces_sort_path_ix on namespaces (sort_path);
create index namespaces_deleted_ix on namespaces (deleted_at) where deleted_at is not null;

create table users (
    user_no      integer not null primary key autoincrement,  -- history names it, also when it is gone
    namespace_no integer not null references namespaces (namespace_no) on delete cascade,
    user_id      blob    not null default (randomblob(16)) check (length(user_id) = 16),
    key          text    not null check (length(key) between 1 and 512),
    display_name text,
    metadata     blob    not null default (jsonb('{}')) check (json_valid(metadata, 8) and json_type(metadata) = 'object'),
    created_at   integer not null default (cast(unixepoch('subsec') * 1000 as integer) * 1000),
    constraint users_namespace_id_uq unique (namespace_no, user_id),
    constraint users_namespace_key_uq unique (namespace_no, key)
) strict;

create table threads (
    thread_no    integer not null primary key autoincrement,
    namespace_no integer not null references namespaces (namespace_no) on delete cascade,
    thread_id    blob    not null default (randomblob(16)) check (length(thread_id) = 16),
    key          text    not null check (length(key) between 1 and 512),
    title        text,
    metadata     blob    not null default (jsonb('{}')) check (json_valid(metadata, 8) and json_type(metadata) = 'object'),
    created_at   integer not null default (cast(unixepoch('subsec') * 1000 as integer) * 1000),
    closed_at    integer,
    constraint threads_namespace_id_uq unique (namespace_no, thread_id),
    constraint threads_namespace_key_uq unique (namespace_no, key)
) strict;
create index threads_key_ix on threads (key);
