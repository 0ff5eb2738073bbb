-- depends: pg_0003_arguments
-- The registry of scopes: settings, namespaces, users, threads.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create table kompanion.settings (
    name        text        collate "C" not null constraint settings_pk primary key,
    value       jsonb       not null,
    description text        not null,
    updated_at  timestamptz not null default now()
);
comment on table  kompanion.settings is 'What an operator may tune, one row a setting; read and changed with setting() and set_setting().';
comment on column kompanion.settings.name is 'Name of the setting.';
comment on column kompanion.settings.value is 'Its value, of the JSON type it was installed with.';
comment on column kompanion.settings.description is 'What it does, with its unit.';
comment on column kompanion.settings.updated_at is 'When it was last changed.';
comment on constraint settings_pk on kompanion.settings is 'One row a setting.';

insert into kompanion.settings (name, value, description) values
    ('exact_threshold', '10000', 'Matches up to which a search is exact while no calibration holds; above it the vector index may be used; 1 to 1000000000.'),
    ('target_recall', '0.95', 'recall@k a search aims at when it goes by an index and the caller names no target; 0.01 to 1.'),
    ('index_min_rows', '20000', 'Rows of a model from which ensure_index builds a vector index; 1 to 1000000000.'),
    ('embedding_lease', '"10 minutes"', 'How long a batch handed out by pending_embeddings stays with its worker; an interval with its unit, such as "7 days", up to 1000 years.'),
    ('indexed_metadata', '{}', 'Metadata keys that index_metadata_key built an index for, with their type; filters on them use it.'),
    ('retention_deleted', '"30 days"', 'How long soft-deleted items and namespaces are kept before purge removes them; an interval with its unit, such as "7 days", up to 1000 years.'),
    ('retention_expired', '"30 days"', 'How long expired items are kept before purge removes them; an interval with its unit, such as "7 days", up to 1000 years.'),
    ('retention_revisions', 'null', 'How long superseded revisions are kept before purge removes them; an interval with its unit, such as "7 days", up to 1000 years, or null, which keeps them for ever.');

create function kompanion._refuse_path(
    path text
)
    returns boolean
    language plpgsql
    immutable parallel safe
    set search_path from current
as $_refuse_path$
-- What a check calls when a path is too long to register, so that whatever writes it is told how to go on.
begin
    raise exception using
        errcode = 'KM002',
        message = format('bad namespace %L: it has %s bytes, at most 2000 are allowed', left(path, 200), octet_length(path)),
        hint    = 'Shorten its segments; a letter beyond ASCII takes 2 to 4 bytes.';
end;
$_refuse_path$;
revoke all on function kompanion._refuse_path(text) from public;
comment on function kompanion._refuse_path(text) is 'Internal. Raises KM002 for a path of too many bytes.';

create table kompanion.namespaces (
    namespace_id uuid            not null,
    path         text            not null,
    segments     text[] collate "C" not null,
    created_at   timestamptz     not null default now(),
    deleted_at   timestamptz,
    constraint namespaces_pk primary key (namespace_id),
    constraint namespaces_id_of_path_ck check (namespace_id = kompanion.namespace_id(path)),
    -- An entry of the index on segments must stay under 2,700 bytes.
    constraint namespaces_path_ck check (octet_length(path) <= 2000 or kompanion._refuse_path(path)),
    -- Equal arrays have the same bounds and NULLs too: joining the segments again would let '{acme:x}' pass for acme:x.
    constraint namespaces_segments_ck check (segments = string_to_array(path, ':'))
);
-- Collation C makes a scope one range of this index: array['acme'] <= segments < array['acme' || chr(1)].
create index namespaces_segments_ix on kompanion.namespaces (segments);
create index namespaces_deleted_ix on kompanion.namespaces (deleted_at) where deleted_at is not null;
comment on table  kompanion.namespaces is 'Every namespace that was written to. A scope is a leading run of segments of these paths.';
comment on column kompanion.namespaces.namespace_id is 'namespace_id(path): the first 16 bytes of SHA-256 of the path.';
comment on column kompanion.namespaces.path is 'The path as given, 1 to 8 segments joined by a colon, at most 2,000 bytes.';
comment on column kompanion.namespaces.segments is 'The path cut at its colons; scopes are compared on this, segment by segment, never as text.';
comment on column kompanion.namespaces.created_at is 'When it was first written to.';
comment on column kompanion.namespaces.deleted_at is 'When it was soft-deleted; all it holds is hidden from then on. NULL while it lives.';
comment on constraint namespaces_pk on kompanion.namespaces is 'The id is a function of the path, so this makes paths unique too.';
comment on constraint namespaces_id_of_path_ck on kompanion.namespaces is 'No row may carry an id that is not the one of its path.';
comment on constraint namespaces_path_ck on kompanion.namespaces is 'A path has at most 2,000 bytes in UTF-8, which its index can hold; KM002 beyond.';
comment on constraint namespaces_segments_ck on kompanion.namespaces is 'The segments are those of the path, and nothing else that reads like it: row security goes by them.';
comment on index kompanion.namespaces_segments_ix is 'Resolves a scope to namespace ids as one range.';
comment on index kompanion.namespaces_deleted_ix is 'Tells a search of everything whether something is hidden; purge.';

create table kompanion.users (
    namespace_id uuid        not null,
    user_id      uuid        not null default gen_random_uuid(),
    key          text        collate "C" not null,
    display_name text,
    metadata     jsonb       not null default '{}',
    created_at   timestamptz not null default now(),
    constraint users_pk primary key (namespace_id, user_id),
    constraint users_namespace_key_uq unique (namespace_id, key),
    constraint users_namespace_fk foreign key (namespace_id) references kompanion.namespaces (namespace_id) on delete cascade,
    constraint users_key_ck check (length(key) between 1 and 512),
    constraint users_metadata_object_ck check (jsonb_typeof(metadata) = 'object'),
    constraint users_times_ck check (isfinite(created_at))
);
comment on table  kompanion.users is 'Whom memories are about or from; optional, and private to a namespace.';
comment on column kompanion.users.namespace_id is 'The namespace the user is known in.';
comment on column kompanion.users.user_id is 'Identity inside the namespace.';
comment on column kompanion.users.key is 'External name, unique in the namespace.';
comment on column kompanion.users.display_name is 'Name to show to people.';
comment on column kompanion.users.metadata is 'Anything else about the user, a JSON object.';
comment on column kompanion.users.created_at is 'When the user was first named.';
comment on constraint users_pk on kompanion.users is 'Identity of a user; starts with the namespace, as every key does.';
comment on constraint users_namespace_key_uq on kompanion.users is 'One user a name in a namespace.';
comment on constraint users_namespace_fk on kompanion.users is 'Purging a namespace takes its users along.';
comment on constraint users_key_ck on kompanion.users is 'Names are short texts.';
comment on constraint users_metadata_object_ck on kompanion.users is 'Metadata is a JSON object.';
comment on constraint users_times_ck on kompanion.users is 'Clients cannot read infinity.';

create table kompanion.threads (
    namespace_id uuid        not null,
    thread_id    uuid        not null default gen_random_uuid(),
    key          text        collate "C" not null,
    title        text,
    metadata     jsonb       not null default '{}',
    created_at   timestamptz not null default now(),
    closed_at    timestamptz,
    constraint threads_pk primary key (namespace_id, thread_id),
    constraint threads_namespace_key_uq unique (namespace_id, key),
    constraint threads_namespace_fk foreign key (namespace_id) references kompanion.namespaces (namespace_id) on delete cascade,
    constraint threads_key_ck check (length(key) between 1 and 512),
    constraint threads_metadata_object_ck check (jsonb_typeof(metadata) = 'object'),
    constraint threads_times_ck check (isfinite(created_at) and (closed_at is null or isfinite(closed_at)))
);
comment on table  kompanion.threads is 'Conversations or tasks inside a namespace; optional.';
comment on column kompanion.threads.namespace_id is 'The namespace the thread is in.';
comment on column kompanion.threads.thread_id is 'Identity inside the namespace.';
comment on column kompanion.threads.key is 'External name, unique in the namespace.';
comment on column kompanion.threads.title is 'Title to show to people.';
comment on column kompanion.threads.metadata is 'Anything else about the thread, a JSON object.';
comment on column kompanion.threads.created_at is 'When the thread was first named.';
comment on column kompanion.threads.closed_at is 'Since when it takes no new memories (KM010); it stays readable. NULL while open.';
comment on constraint threads_pk on kompanion.threads is 'Identity of a thread; starts with the namespace, as every key does.';
comment on constraint threads_namespace_key_uq on kompanion.threads is 'One thread a name in a namespace.';
comment on constraint threads_namespace_fk on kompanion.threads is 'Purging a namespace takes its threads along.';
comment on constraint threads_key_ck on kompanion.threads is 'Names are short texts.';
comment on constraint threads_metadata_object_ck on kompanion.threads is 'Metadata is a JSON object.';
comment on constraint threads_times_ck on kompanion.threads is 'Lists are in order of these, and their cursors cannot hold infinity.';

create function kompanion.setting(
    name text
)
    returns jsonb
    language plpgsql
    stable
    set search_path from current
as $setting$
-- The value of one setting; an unknown name is an error, never a silent NULL.
declare
    v_value jsonb;
begin
    select s.value into v_value from settings s where s.name = setting.name;
    if not found then
        raise exception using
            errcode = 'KM007',
            message = format('name: there is no setting %s', coalesce(quote_literal(setting.name), 'NULL')),
            hint    = 'See: select name, description from kompanion.settings;';
    end if;
    return v_value;
end;
$setting$;
revoke all on function kompanion.setting(text) from public;
comment on function kompanion.setting(text) is
    'The value of a setting; KM007 for an unknown name.';

create function kompanion.set_setting(
    name  text,
    value jsonb
)
    returns jsonb
    language plpgsql
    volatile
    set search_path from current
as $set_setting$
-- Changes a setting after checking the value is of its kind; returns the former value.
declare
    v_former jsonb := kompanion.setting(set_setting.name);
    v_good   boolean;
begin
    begin
        v_good := case
            when set_setting.name in ('target_recall', 'exact_threshold', 'index_min_rows') and jsonb_typeof(set_setting.value) <> 'number'
                then false
            when set_setting.name = 'target_recall' then (set_setting.value #>> '{}')::double precision between 0.01 and 1
            when set_setting.name in ('exact_threshold', 'index_min_rows')
                then (set_setting.value #>> '{}')::integer between 1 and 1000000000
            when set_setting.name = 'indexed_metadata' then jsonb_typeof(set_setting.value) = 'object'
            when set_setting.name = 'retention_revisions' and set_setting.value = 'null' then true
            -- A bare number would be seconds, where who writes 7 means days: purge removes for good. By seconds, as an export has
            -- them: a comparison of intervals takes 1000 years for 360,000 days.
            when jsonb_typeof(set_setting.value) <> 'string' or set_setting.value #>> '{}' ~ '^[-+.[:space:][:digit:]]*$' then false
            else extract(epoch from (set_setting.value #>> '{}')::interval) between 0 and extract(epoch from interval '1000 years')
        end;
    exception when data_exception then
        v_good := false;
    end;
    if v_good is distinct from true then
        raise exception using
            errcode = 'KM007',
            message = format('value: %s is no value for setting %L', coalesce(set_setting.value::text, 'NULL'), set_setting.name),
            hint    = (select s.description from settings s where s.name = set_setting.name);
    end if;
    update settings s
    set value = set_setting.value, updated_at = now()
    where s.name = set_setting.name;
    return v_former;
end;
$set_setting$;
revoke all on function kompanion.set_setting(text, jsonb) from public;
comment on function kompanion.set_setting(text, jsonb) is
    'Change a setting; returns the former value. KM007 for an unknown name or a value of the wrong kind.';

create function kompanion._check_isolation(
    caller text
)
    returns void
    language plpgsql
    stable
    set search_path from current
as $_check_isolation$
-- The snapshot of a higher level may be older than a lock taken in it, and does not show what the lock had to wait for.
begin
    if current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
        raise exception using
            errcode = '25001',
            message = format('%s: a transaction of isolation level %s may not see what others register or delete below or above it',
                             caller, current_setting('transaction_isolation')),
            hint    = 'Call it in a transaction of its own: begin isolation level read committed. A store begins all of them so where its URL has '
                      '?options=-cdefault_transaction_isolation%3Dread%5C%20committed.';
    end if;
end;
$_check_isolation$;
revoke all on function kompanion._check_isolation(text) from public;
comment on function kompanion._check_isolation(text) is
    'Internal. 25001 above isolation level read committed, for what must see all that others have committed.';
