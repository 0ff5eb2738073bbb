-- depends: pg_0036_export
-- Moving in: documents of an export, written as they were.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._import_registry(
    documents jsonb
)
    returns bigint
    language plpgsql
    volatile
    set search_path from current
as $_import_registry$
-- Settings, models, namespaces, users and threads as they were; what is there already stays as it is.
declare
    v_count bigint := 0; v_rows bigint;
    v_new   text[] := '{}'; r record;
begin
    -- A store that holds items has its own settings.
    if not exists (select 1 from memory_items limit 1) then
        perform set_setting(d.name, case when d.name like 'retention%' and d.value is not null
                                         then to_jsonb(make_interval(secs => (d.value #>> '{}')::double precision))
                                         else coalesce(d.value, 'null') end)
        from jsonb_array_elements(documents) e
        cross join lateral jsonb_to_record(e) as d (kind text, name text, value jsonb)
        where d.kind = 'setting';
    end if;
    for r in select d.* from jsonb_array_elements(documents) e
             cross join lateral jsonb_to_record(e) as d (kind text, name text, dim integer, metric text, is_default boolean,
                                                         created_at timestamptz, retired_at timestamptz)
             where d.kind = 'model' loop
        if not exists (select 1 from embedding_models m where m.name = r.name and m.dim = r.dim and m.metric = r.metric) then
            perform register_model(r.name, r.dim, r.metric);
            update embedding_models m set created_at = coalesce(r.created_at, m.created_at) where m.name = r.name;
            v_new := v_new || r.name;
        end if;
        v_count := v_count + 1;
        if r.is_default then
            lock table embedding_models in share update exclusive mode;  -- one switch at a time, as in set_default_model
            update embedding_models m set is_default = false where m.is_default and m.name <> r.name
                and not exists (select 1 from embeddings e limit 1);
            perform _make_default(m.model_id) from embedding_models m
            where m.name = r.name and m.retired_at is null and not exists (select 1 from embedding_models o where o.is_default);
        end if;
    end loop;
    -- After the loop: until the default has had its turn, the first model is the default, and may be a retired one.
    update embedding_models m set retired_at = d.retired_at
    from jsonb_array_elements(documents) e
    cross join lateral jsonb_to_record(e) as d (kind text, name text, retired_at timestamptz)
    where d.kind = 'model' and d.retired_at is not null and m.name = d.name and m.name = any (v_new) and not m.is_default;

    insert into namespaces (namespace_id, path, segments, created_at, deleted_at)
    select namespace_id(d.path), d.path, namespace_segments(d.path), d.created_at, d.deleted_at
    from jsonb_array_elements(documents) e
    cross join lateral jsonb_to_record(e) as d (kind text, path text, created_at timestamptz, deleted_at timestamptz)
    where d.kind = 'namespace' order by d.path
    on conflict do nothing;
    get diagnostics v_rows = row_count; v_count := v_count + v_rows;

    -- Threads before users, and each in its order (as namespaces above), as every write of items has them: else the two may wait for each other.
    insert into threads (namespace_id, thread_id, key, title, metadata, created_at, closed_at)
    select namespace_id(d.namespace), d.thread_id, d.key, d.title, d.metadata, d.created_at, d.closed_at
    from jsonb_array_elements(documents) e
    cross join lateral jsonb_to_record(e) as d (kind text, namespace text, thread_id uuid, key text, title text,
                                                metadata jsonb, created_at timestamptz, closed_at timestamptz)
    where d.kind = 'thread' order by 1, d.key
    on conflict do nothing;
    get diagnostics v_rows = row_count; v_count := v_count + v_rows;

    insert into users (namespace_id, user_id, key, display_name, metadata, created_at)
    select namespace_id(d.namespace), d.user_id, d.key, d.display_name, d.metadata, d.created_at
    from jsonb_array_elements(documents) e
    cross join lateral jsonb_to_record(e) as d (kind text, namespace text, user_id uuid, key text, display_name text,
                                                metadata jsonb, created_at timestamptz)
    where d.kind = 'user' order by 1, d.key
    on conflict do nothing;
    get diagnostics v_rows = row_count;
    return v_count + v_rows;
end;
$_import_registry$;
revoke all on function kompanion._import_registry(jsonb) from public;
comment on function kompanion._import_registry(jsonb) is 'Internal. Imports models, namespaces, users and threads.';

create function kompanion._check_documents(
    documents jsonb
)
    returns void
    language plpgsql
    stable
    set search_path from current
as $_check_documents$
-- Documents are a list of known kinds, of a known format, with texts that are texts and times that clients can read: by itself
-- jsonb_to_record takes the text of whatever there is, and 'yesterday' for a time.
declare
    v_wrong text;
begin
    if jsonb_typeof(documents) is distinct from 'array' then
        raise exception using errcode = 'KM007', message = 'documents: is not a JSON list', hint = 'Give a list of what export_registry and export_items returned.';
    elsif exists (select 1 from jsonb_array_elements(documents) e
                  where coalesce(e ->> 'kind', '') not in ('export', 'setting', 'model', 'namespace', 'user', 'thread', 'item')) then
        raise exception using
            errcode = 'KM007', message = 'documents: one has no kind, or an unknown one',
            hint    = 'A document has a kind of export, setting, model, namespace, user, thread or item.';
    elsif exists (select 1 from jsonb_array_elements(documents) e
                  where e ->> 'kind' = 'export' and case when e ->> 'format' ~ '^[0-9]{1,4}$' then (e ->> 'format')::integer > _export_format() else true end) then
        raise exception using
            errcode = 'KM007', message = format('documents: are of a format that is not known here; the newest that is: %s', _export_format()),
            hint    = 'Upgrade kompanion_db here, or export with this version.';
    end if;
    select format('%s is no %s: %s', w.name, w.what, left(w.value::text, 100)) into v_wrong
    from jsonb_array_elements(documents) e
    cross join lateral (
        select f.name, f.what, f.what = 'time', d -> f.name
        from jsonb_array_elements(jsonb_build_array(e) || coalesce(e -> 'revisions', '[]') || coalesce(e -> 'chunks', '[]')) d
        cross join (select n, 'text' from unnest('{namespace,path,name,key,metric,content,thread,user_key,actor,display_name,title}'::text[]) n
                    union all select n, 'time' from unnest('{created_at,updated_at,superseded_at,expires_at,deleted_at,closed_at,retired_at}'::text[]) n) f (name, what)
        union all
        select 'tags', 'list of texts', false, t.value from jsonb_array_elements(jsonb_build_array(e) || coalesce(e -> 'revisions', '[]')) d
        cross join lateral jsonb_array_elements(case when e ->> 'kind' = 'item' then coalesce(d -> 'tags', 'null') end) t
        union all
        select 'created_at', 'time', true, t.value from jsonb_path_query(e, 'lax $.chunks[*].*[*].created_at') t (value)) w (name, what, is_time, value)
    where jsonb_typeof(w.value) not in ('string', 'null')
       or w.is_time and w.value #>> '{}' !~ '^[0-9]{4}(-[0-9]{2}){2}[T ][0-9]{2}(:[0-9]{2}){2}([.][0-9]{1,6})?(Z|[+-][0-9]{2}(:[0-9]{2}){0,2})$'
    limit 1;
    if v_wrong is not null or exists (select 1 from jsonb_array_elements(documents) e where e ->> 'kind' = 'item' and (e -> 'revisions' is null or e -> 'chunks' is null)) then
        raise exception using
            errcode = 'KM007', message = 'documents: one is not of the form of an export: ' || coalesce(v_wrong, 'an item has no list of revisions, or none of chunks'),
            hint    = 'Give what export_registry and export_items returned, the registry first.';
    end if;
    if exists (select 1 from jsonb_array_elements(documents) e
               cross join lateral jsonb_array_elements(jsonb_build_array(e) || coalesce(e -> 'revisions', '[]')) d
               cross join lateral jsonb_to_record(d) as f (created_at timestamptz, updated_at timestamptz, superseded_at timestamptz,
                                                           expires_at timestamptz, deleted_at timestamptz, closed_at timestamptz, retired_at timestamptz)
               where least(f.created_at, f.updated_at, f.superseded_at, f.expires_at, f.deleted_at, f.closed_at, f.retired_at) < '0001-01-03 00:00:00+00'
                  or greatest(f.created_at, f.updated_at, f.superseded_at, f.expires_at, f.deleted_at, f.closed_at, f.retired_at) > '9999-12-29 00:00:00+00')
    then
        perform _check_moment('documents: a time', 'infinity');
    end if;
end;
$_check_documents$;
revoke all on function kompanion._check_documents(jsonb) from public;
comment on function kompanion._check_documents(jsonb) is 'Internal. What must hold of a list of documents before any is imported.';

create function kompanion.import_documents(
    documents jsonb
)
    returns table (registry bigint, items bigint, skipped bigint)
    language plpgsql
    volatile
    set search_path from current
as $import_documents$
-- Writes documents of export_registry and export_items as they were, with ids, revisions and times. An item whose name
-- is taken is skipped, so a broken import is simply run again.
declare
    v_given bigint;
begin
    perform _check_documents(documents);
    registry := _import_registry(documents);
    if exists (select 1 from jsonb_array_elements(documents) e
               cross join lateral jsonb_array_elements(jsonb_build_array(e) || coalesce(e -> 'revisions', '[]')) d
               where e ->> 'kind' = 'item'
                 and (d ->> 'thread' is not null and not exists (select 1 from threads t where t.namespace_id = namespace_id(e ->> 'namespace')
                                                                             and t.key = d ->> 'thread')
                      or d ->> 'user_key' is not null and not exists (select 1 from users u where u.namespace_id = namespace_id(e ->> 'namespace')
                                                                                and u.key = d ->> 'user_key'))) then
        raise exception using
            errcode = 'KM007', message = 'documents: an item names a thread or a user that is not there',
            hint    = 'Import what export_registry returned first. If that was done, it is here by another key, as it was renamed since: rename it here too.';
    end if;
    select count(*) into v_given from jsonb_array_elements(documents) e where e ->> 'kind' = 'item';

    with given as materialized (
        -- What joins this further down must find one document an item; of two, the first.
        select distinct on (space, i.item_id)
               l.e as d, l.n, namespace_id(l.e ->> 'namespace') as space, i.*
        from jsonb_array_elements(documents) with ordinality as l (e, n)
        cross join lateral jsonb_to_record(l.e) as i (
            item_id uuid, key text, content text, metadata jsonb, tags text[], thread text, user_key text, actor text, revision integer,
            content_revision integer, created_at timestamptz, updated_at timestamptz, expires_at timestamptz, deleted_at timestamptz)
        where l.e ->> 'kind' = 'item'
        order by space, i.item_id, l.n
    ), fresh as materialized (
        insert into memory_items as i (namespace_id, item_id, key, content, metadata, tags, thread_id, user_id, actor, revision,
                                       content_revision, created_at, updated_at, expires_at, deleted_at)
        select g.space, g.item_id, g.key, g.content, g.metadata, _normalize_tags(g.tags), t.thread_id, u.user_id, g.actor, g.revision,
               g.content_revision, g.created_at, g.updated_at, g.expires_at, g.deleted_at
        from given g
        left join threads t on t.namespace_id = g.space and t.key = g.thread
        left join users u on u.namespace_id = g.space and u.key = g.user_key
        order by g.space, g.key collate "C", g.n
        on conflict do nothing
        returning i.namespace_id, i.item_id, i.thread_id, i.tags, i.expires_at, i.deleted_at
    ), history as (
        insert into memory_item_revisions (namespace_id, item_id, revision, key, content, metadata, tags, thread_id, user_id, actor,
                                           updated_at, superseded_at, expires_at, deleted_at)
        select f.namespace_id, f.item_id, r.revision, r.key, r.content, r.metadata, _normalize_tags(r.tags), t.thread_id, u.user_id,
               r.actor, r.updated_at, r.superseded_at, r.expires_at, r.deleted_at
        from fresh f
        join given g on g.space = f.namespace_id and g.item_id = f.item_id
        cross join lateral jsonb_to_recordset(g.d -> 'revisions') as r (
            revision integer, key text, content text, metadata jsonb, tags text[], thread text, user_key text, actor text,
            updated_at timestamptz, superseded_at timestamptz, expires_at timestamptz, deleted_at timestamptz)
        left join threads t on t.namespace_id = f.namespace_id and t.key = r.thread
        left join users u on u.namespace_id = f.namespace_id and u.key = r.user_key
    ), pieces as materialized (
        select f.*, c.*
        from fresh f
        join given g on g.space = f.namespace_id and g.item_id = f.item_id
        cross join lateral jsonb_to_recordset(g.d -> 'chunks') as c (
            ordinal integer, content text, start_offset integer, end_offset integer, revision integer, content_revision integer,
            created_at timestamptz, vectors jsonb, queued jsonb)
    ), chunks as (
        insert into memory_chunks as k (namespace_id, item_id, ordinal, content, start_offset, end_offset, revision, content_revision, created_at)
        select p.namespace_id, p.item_id, p.ordinal, p.content, p.start_offset, p.end_offset, p.revision, p.content_revision, p.created_at
        from pieces p
        returning k.namespace_id, k.item_id, k.chunk_id, k.ordinal
    ), vectors as (
        insert into embeddings as e (namespace_id, chunk_id, model_id, item_id, thread_id, tags, expires_at, deleted_at, vector, created_at)
        select k.namespace_id, k.chunk_id, m.model_id, k.item_id, p.thread_id, p.tags, p.expires_at, p.deleted_at,
               -- A model that is not known, and a length that _check_vector refuses, end in a NULL and are refused.
               case when vector_norm(w.vector) between case when m.metric = 'cosine' then 1e-15 else 0 end and 1e15 then w.vector end, v.created_at
        from chunks k
        join pieces p on p.namespace_id = k.namespace_id and p.item_id = k.item_id and p.ordinal = k.ordinal
        cross join lateral jsonb_to_recordset(p.vectors) as v (model text, vector jsonb, created_at timestamptz)
        cross join lateral (select (v.vector #>> '{}')::vector as vector offset 0) w
        left join embedding_models m on m.name = v.model
        returning e.namespace_id, e.chunk_id, e.model_id
    ), queued as (
        -- Format 1 does not say what waits: there, what lacks a vector.
        insert into embedding_queue (namespace_id, chunk_id, model_id, created_at)
        select k.namespace_id, k.chunk_id, m.model_id, coalesce(q.created_at, now())
        from chunks k
        join pieces p on p.namespace_id = k.namespace_id and p.item_id = k.item_id and p.ordinal = k.ordinal
        cross join embedding_models m
        left join lateral jsonb_to_recordset(p.queued) as q (model text, created_at timestamptz) on q.model = m.name
        where m.retired_at is null and (q.model is not null or p.queued is null)
          and not exists (select 1 from vectors v
                          where v.namespace_id = k.namespace_id and v.chunk_id = k.chunk_id and v.model_id = m.model_id)
    )
    select count(*), v_given - count(*) into items, skipped from fresh;
    return next;
exception when data_exception or integrity_constraint_violation then
    raise exception using
        errcode = 'KM007', message = case when sqlerrm like '%type halfvec' then 'documents: ' else 'documents: one is not of the form of an export: ' end || sqlerrm,
        hint    = case when sqlerrm like '%type halfvec' then 'The index of the model is in half precision: drop it, and build it when all is here.'
                  else 'Give what export_registry and export_items returned, the registry first.' end;
end;
$import_documents$;
revoke all on function kompanion.import_documents(jsonb) from public;
comment on function kompanion.import_documents(jsonb) is
    'Write documents of an export as they were, ids, revisions and times included; items whose name is taken are skipped. Returns counts.';
