-- depends: pg_0035_upsert_items
-- Moving out: a whole scope as JSON documents, with revisions, chunks, vectors and times as they are.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._scope_ids_kept(
    scope   text,
    lowest  uuid    default null,
    at_most integer default null
)
    returns uuid[]
    language plpgsql
    stable
    set search_path from current
    set plan_cache_mode = force_custom_plan  -- by id or by path: a scope may be all of the store, or next to nothing of it
as $_scope_ids_kept$
-- The namespaces at or below a scope, deleted ones too, as an export leaves nothing out; in order, from an id on.
declare
    v_segments text[]  := case when scope = '*' then '{}' else namespace_segments(scope) end;
    v_n        integer := cardinality(v_segments);
begin
    return array(
        select n.namespace_id from namespaces n
        where (v_n = 0 or n.segments >= v_segments and n.segments < _scope_end(v_segments))
          and (lowest is null or n.namespace_id >= lowest)
        order by n.namespace_id limit at_most);
end;
$_scope_ids_kept$;
revoke all on function kompanion._scope_ids_kept(text, uuid, integer) from public;
comment on function kompanion._scope_ids_kept(text, uuid, integer) is
    'Internal. Ids of the namespaces at or below a scope, deleted ones too, in order, from one on.';

create function kompanion._export_format()
    returns integer
    language sql
    immutable
    set search_path from current
as $_export_format$
-- 1: without settings and queue, vectors as lists of numbers, and no document that says the format.
select 2;
$_export_format$;
revoke all on function kompanion._export_format() from public;
comment on function kompanion._export_format() is 'Internal. The format of the documents of an export; import_documents reads it and all before it.';

create function kompanion.export_registry(
    scope text default '*'
)
    returns table (document jsonb)
    language plpgsql
    stable
    set search_path from current
as $export_registry$
-- What items refer to, as documents for import_documents, the format of all of them first: settings, models, namespaces,
-- users, threads. Of the settings those that say what is kept and found; durations in seconds, as every engine has them.
declare
    v_ids uuid[] := _scope_ids_kept(scope);
begin
    return query select jsonb_build_object('kind', 'export', 'format', _export_format());
    return query
    select jsonb_build_object('kind', 'setting', 'name', s.name, 'value', case
               when s.name like 'retention%' and s.value <> 'null' then to_jsonb(trim_scale(extract(epoch from (s.value #>> '{}')::interval)::numeric))
               else s.value end)
    from settings s where s.name = any (array['retention_deleted', 'retention_expired', 'retention_revisions', 'target_recall']) and scope = '*'
    order by s.name;
    return query
    select jsonb_build_object('kind', 'model', 'name', m.name, 'dim', m.dim, 'metric', m.metric, 'is_default', m.is_default,
                              'created_at', m.created_at, 'retired_at', m.retired_at)
    from embedding_models m order by m.model_id;
    return query
    select jsonb_build_object('kind', 'namespace', 'path', n.path, 'created_at', n.created_at, 'deleted_at', n.deleted_at)
    from namespaces n where n.namespace_id = any (v_ids) order by n.segments;
    return query
    select jsonb_build_object('kind', 'user', 'namespace', n.path, 'user_id', u.user_id, 'key', u.key,
                              'display_name', u.display_name, 'metadata', u.metadata, 'created_at', u.created_at)
    from users u join namespaces n on n.namespace_id = u.namespace_id
    where u.namespace_id = any (v_ids) order by n.segments, u.key;
    return query
    select jsonb_build_object('kind', 'thread', 'namespace', n.path, 'thread_id', t.thread_id, 'key', t.key, 'title', t.title,
                              'metadata', t.metadata, 'created_at', t.created_at, 'closed_at', t.closed_at)
    from threads t join namespaces n on n.namespace_id = t.namespace_id
    where t.namespace_id = any (v_ids) order by n.segments, t.key;
end;
$export_registry$;
revoke all on function kompanion.export_registry(text) from public;
comment on function kompanion.export_registry(text) is
    'Models, namespaces, users and threads of a scope as JSON documents, deleted ones too, and the settings that belong to the content; export_items gives the items.';

create function kompanion._cursor_of(
    after     text,
    out space uuid,
    out item  uuid
)
    language plpgsql
    immutable
    set search_path from current
as $_cursor_of$
-- The place a cursor of export_items names; nulls for none.
begin
    space := split_part(after, '/', 1)::uuid;
    item := split_part(after, '/', 2)::uuid;
exception when data_exception then
    raise exception using
        errcode = 'KM007', message = format('after: %L is no cursor', left(after, 100)),
        hint    = 'Pass the cursor of the last row of the page before, as it is.';
end;
$_cursor_of$;
revoke all on function kompanion._cursor_of(text) from public;
comment on function kompanion._cursor_of(text) is 'Internal. The place a cursor of export_items names.';

create function kompanion._export_page(
    scope     text,
    page_size integer,
    after     text
)
    returns table (namespace_id uuid, item_id uuid, revision integer, updated_at timestamptz)
    language plpgsql
    stable
    set search_path from current
    set plan_cache_mode = force_generic_plan  -- one cached plan, by memory_items_pk in its order: a sort would read
    set enable_seqscan = off                  -- all that is left for every page
    set enable_bitmapscan = off
    set jit = off
as $_export_page$
-- The items of one page, in order of their ids. What is left of the namespace of the cursor is asked for by itself: of many
-- namespaces and a place in one of them, a b-tree would start at the first namespace and read on to the place.
declare
    v_most  integer := greatest(page_size, 100);  -- namespaces looked at together: enough for a page, save where some are empty
    v_left  integer := page_size;
    v_after record;
    v_ids   uuid[];
    v_count integer;
begin
    perform _check_page(page_size);
    select * into v_after from _cursor_of(after);
    v_ids := _scope_ids_kept(scope, v_after.space, v_most);
    if v_ids[1] = v_after.space then
        return query
        select i.namespace_id, i.item_id, i.revision, i.updated_at
        from memory_items i
        where i.namespace_id = v_after.space and i.item_id > v_after.item
        order by i.item_id
        limit v_left;
        get diagnostics v_count = row_count;
        v_left := v_left - v_count;
        v_ids := v_ids[2:];
    end if;
    while v_left > 0 and v_ids <> '{}' loop
        return query
        select i.namespace_id, i.item_id, i.revision, i.updated_at
        from memory_items i
        where i.namespace_id = any (v_ids)
        order by i.namespace_id, i.item_id
        limit v_left;
        get diagnostics v_count = row_count;
        v_left := v_left - v_count;
        v_ids := case when v_left > 0 then (_scope_ids_kept(scope, v_ids[cardinality(v_ids)], v_most))[2:] end;
    end loop;
end;
$_export_page$;
revoke all on function kompanion._export_page(text, integer, text) from public;
comment on function kompanion._export_page(text, integer, text) is 'Internal. Place, revision and time of the items of one page of an export.';

create function kompanion.export_marks(
    scope     text    default '*',
    page_size integer default 100,
    after     text    default null
)
    returns table (cursor text, revision integer, updated_at timestamptz)
    language plpgsql
    stable
    set search_path from current
as $export_marks$
-- The place and the revision of each item that export_items would give: what a copy looks at to see what is there already.
begin
    return query
    select p.namespace_id || '/' || p.item_id, p.revision, p.updated_at
    from _export_page(scope, page_size, after) p
    order by p.namespace_id, p.item_id;
end;
$export_marks$;
revoke all on function kompanion.export_marks(text, integer, text) from public;
comment on function kompanion.export_marks(text, integer, text) is
    'Cursor, revision and time of the items that export_items gives, in the same order; a copy compares them to go on where it was.';

create function kompanion.export_items(
    scope     text    default '*',
    page_size integer default 100,
    after     text    default null
)
    returns table (document jsonb, cursor text)
    language plpgsql
    stable
    set search_path from current
    set jit = off  -- a page looks dear enough to be compiled, which takes longer than it does
as $export_items$
-- One page of items with revisions, chunks and vectors, deleted and expired ones too, in order of their ids.
begin
    return query
    select jsonb_strip_nulls(to_jsonb(i) - 'namespace_id' - 'metadata' - 'thread_id' - 'user_id' || jsonb_build_object(
                   -- By name: where the document goes, the thread and the user of that name may have other ids.
                   'thread', (select t.key from threads t where t.namespace_id = i.namespace_id and t.thread_id = i.thread_id),
                   'user_key', (select u.key from users u where u.namespace_id = i.namespace_id and u.user_id = i.user_id)))
               || jsonb_build_object(
               'kind', 'item', 'namespace', (select n.path from namespaces n where n.namespace_id = i.namespace_id), 'metadata', i.metadata,
               'revisions', coalesce((
                   select jsonb_agg(jsonb_strip_nulls(to_jsonb(h) - 'namespace_id' - 'item_id' - 'metadata' - 'thread_id' - 'user_id'
                                        || jsonb_build_object(
                       'thread', (select t.key from threads t where t.namespace_id = h.namespace_id and t.thread_id = h.thread_id),
                       'user_key', (select u.key from users u where u.namespace_id = h.namespace_id and u.user_id = h.user_id)))
                                    || jsonb_build_object('metadata', h.metadata) order by h.revision)
                   from memory_item_revisions h
                   where h.namespace_id = i.namespace_id and h.item_id = i.item_id), '[]'),
               'chunks', coalesce((
                   -- A vector as the text that gives every bit of it back; a number of JSON loses the sign of -0.
                   select jsonb_agg(to_jsonb(c) - 'namespace_id' - 'item_id' - 'chunk_id' || jsonb_build_object(
                              'vectors', coalesce((
                                  select jsonb_agg(jsonb_build_object('model', m.name, 'vector', e.vector::text,
                                                                      'created_at', e.created_at) order by m.name)
                                  from embeddings e join embedding_models m on m.model_id = e.model_id
                                  where e.namespace_id = c.namespace_id and e.chunk_id = c.chunk_id), '[]'),
                              'queued', coalesce((
                                  select jsonb_agg(jsonb_build_object('model', m.name, 'created_at', q.created_at) order by m.name)
                                  from embedding_queue q join embedding_models m on m.model_id = q.model_id
                                  where q.namespace_id = c.namespace_id and q.chunk_id = c.chunk_id), '[]')) order by c.ordinal)
                   from memory_chunks c
                   where c.namespace_id = i.namespace_id and c.item_id = i.item_id), '[]')),
           i.namespace_id || '/' || i.item_id
    from (select * from _export_page(scope, page_size, after) e order by e.namespace_id, e.item_id) p
    -- Row by row: a join could read all items for every page.
    cross join lateral (select * from memory_items m where m.namespace_id = p.namespace_id and m.item_id = p.item_id limit 1) i
    order by p.namespace_id, p.item_id;
exception when program_limit_exceeded then
    -- A document is one value of JSON, of 256 MB at most. The server does not say which is larger: it is the largest of the page.
    raise exception using
        errcode = 'KM008',
        message = (select format('item %L in %L is too large for a document with all of its revisions: %s', left(i.key, 200), n.path, sqlerrm)
                   from _export_page(scope, page_size, after) p
                   join memory_items i on i.namespace_id = p.namespace_id and i.item_id = p.item_id
                   join namespaces n on n.namespace_id = p.namespace_id
                   order by (select sum(octet_length(h.content)::bigint + octet_length(h.metadata::text)) from memory_item_revisions h
                             where h.namespace_id = p.namespace_id and h.item_id = p.item_id) desc nulls last
                   limit 1),
        hint    = 'Remove its older revisions: trim_history(keep_for => ''1 day'', keep_last => 5), with numbers that fit.';
end;
$export_items$;
revoke all on function kompanion.export_items(text, integer, text) from public;
comment on function kompanion.export_items(text, integer, text) is
    'Items of a scope as JSON documents for import_documents, whole: revisions, chunks, vectors, queue, times; next page: after => the cursor of the last row. KM008 for one of more than 256 MB.';
