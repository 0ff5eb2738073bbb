-- depends: pg_0032_upsert_items
-- Moving out: a whole scope as JSON documents, with revisions, chunks, vectors and times as they are.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._scope_ids_kept(
    scope text
)
    returns uuid[]
    language plpgsql
    stable
    set search_path from current
as $_scope_ids_kept$
-- The namespaces at or below a scope, deleted ones too: an export leaves nothing out.
declare
    v_segments text[] := case when scope = '*' then '{}' else namespace_segments(scope) end;
begin
    return array(select n.namespace_id from namespaces n
                 where n.segments >= v_segments and n.segments[1:cardinality(v_segments)] = v_segments);
end;
$_scope_ids_kept$;
revoke all on function kompanion._scope_ids_kept(text) from public;
comment on function kompanion._scope_ids_kept(text) is 'Internal. Ids of the namespaces at or below a scope, deleted ones too.';

create function kompanion.export_registry(
    scope text default '*'
)
    returns table (document jsonb)
    language plpgsql
    stable
    set search_path from current
as $export_registry$
-- What items refer to, as documents for import_documents: models, namespaces, users, threads.
declare
    v_ids uuid[] := _scope_ids_kept(scope);
begin
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
    'Models, namespaces, users and threads of a scope as JSON documents, deleted ones too; export_items gives the items.';

create function kompanion.export_items(
    scope     text    default '*',
    page_size integer default 100,
    after     text    default null
)
    returns table (document jsonb, cursor text)
    language plpgsql
    stable
    set search_path from current
as $export_items$
-- One page of items with revisions, chunks and vectors, deleted and expired ones too, in order of their ids.
declare
    v_ids   uuid[] := _scope_ids_kept(scope);
    v_space uuid;
    v_item  uuid;
begin
    perform _check_page(page_size);
    begin
        v_space := split_part(after, '/', 1)::uuid;
        v_item := split_part(after, '/', 2)::uuid;
    exception when data_exception then
        raise exception using
            errcode = 'KM007', message = format('after: %L is no cursor', left(after, 100)),
            hint    = 'Pass the cursor of the last row of the page before, as it is.';
    end;
    return query
    select jsonb_strip_nulls(to_jsonb(i) - 'namespace_id' - 'metadata' - 'thread_id' - 'user_id' || jsonb_build_object(
                   -- By name: where the document goes, the thread and the user of that name may have other ids.
                   'thread', (select t.key from threads t where t.namespace_id = i.namespace_id and t.thread_id = i.thread_id),
                   'user_key', (select u.key from users u where u.namespace_id = i.namespace_id and u.user_id = i.user_id)))
               || jsonb_build_object(
               'kind', 'item', 'namespace', n.path, 'metadata', i.metadata,
               'revisions', coalesce((
                   select jsonb_agg(jsonb_strip_nulls(to_jsonb(h) - 'namespace_id' - 'item_id' - 'metadata' - 'thread_id' - 'user_id'
                                        || jsonb_build_object(
                       'thread', (select t.key from threads t where t.namespace_id = h.namespace_id and t.thread_id = h.thread_id),
                       'user_key', (select u.key from users u where u.namespace_id = h.namespace_id and u.user_id = h.user_id)))
                                    || jsonb_build_object('metadata', h.metadata) order by h.revision)
                   from memory_item_revisions h
                   where h.namespace_id = i.namespace_id and h.item_id = i.item_id), '[]'),
               'chunks', coalesce((
                   select jsonb_agg(to_jsonb(c) - 'namespace_id' - 'item_id' - 'chunk_id' || jsonb_build_object('vectors', coalesce((
                              select jsonb_agg(jsonb_build_object('model', m.name, 'vector', e.vector::text::jsonb,
                                                                  'created_at', e.created_at) order by m.name)
                              from embeddings e join embedding_models m on m.model_id = e.model_id
                              where e.namespace_id = c.namespace_id and e.chunk_id = c.chunk_id), '[]')) order by c.ordinal)
                   from memory_chunks c
                   where c.namespace_id = i.namespace_id and c.item_id = i.item_id), '[]')),
           i.namespace_id || '/' || i.item_id
    from memory_items i
    join namespaces n on n.namespace_id = i.namespace_id
    where i.namespace_id = any (v_ids) and (after is null or (i.namespace_id, i.item_id) > (v_space, v_item))
    order by i.namespace_id, i.item_id
    limit page_size;
end;
$export_items$;
revoke all on function kompanion.export_items(text, integer, text) from public;
comment on function kompanion.export_items(text, integer, text) is
    'Items of a scope as JSON documents for import_documents, whole: revisions, chunks, vectors, times; next page: after => the cursor of the last row.';
