-- depends: pg_0017_metadata_keys
-- Reading items: one, a page of a scope, the history of one, one as it was.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion.get_item(
    namespace text,
    key       text
)
    returns table (namespace_id uuid, item_id uuid, content text, metadata jsonb, tags text[], thread text, user_key text,
                   actor text, revision integer, content_revision integer, created_at timestamptz, updated_at timestamptz,
                   expires_at timestamptz)
    language plpgsql
    stable
    set search_path from current
    set plan_cache_mode = force_generic_plan  -- by the whole key, also in a namespace that the statistics do not know
as $get_item$
-- The live item of that name, or no row.
declare
    v_namespace_id uuid := namespace_id(namespace);
begin
    return query
    select i.namespace_id, i.item_id, i.content, i.metadata, i.tags, i.thread, i.user_key,
           i.actor, i.revision, i.content_revision, i.created_at, i.updated_at, i.expires_at
    from live_items i
    where i.namespace_id = v_namespace_id and i.key = get_item.key;
end;
$get_item$;
revoke all on function kompanion.get_item(text, text) from public;
comment on function kompanion.get_item(text, text) is
    'Read one live item; no row when there is none. content_revision is for put_chunks. Reading never writes: see touch_item to extend its life.';

create function kompanion.get_chunks(
    namespace text,
    key       text,
    model     text default null
)
    returns table (chunk_id bigint, ordinal integer, content text, start_offset integer, end_offset integer,
                   chunk_revision integer, vector vector)
    language plpgsql
    stable
    set search_path from current
    set plan_cache_mode = force_generic_plan  -- by the whole key, also in a namespace that the statistics do not know
as $get_chunks$
-- The chunks of a live item in order, each with its vector of the model, NULL where it waits for one.
declare
    v_namespace_id uuid := namespace_id(namespace);
    v_model        integer;
begin
    if get_chunks.model is not null or exists (select 1 from embedding_models m where m.is_default) then
        select m.model_id into v_model from _model(get_chunks.model) m;
    end if;
    return query
    select c.chunk_id, c.ordinal, c.content, c.start_offset, c.end_offset, c.revision, e.vector
    from live_items i
    join memory_chunks c on c.namespace_id = i.namespace_id and c.item_id = i.item_id
    left join embeddings e on e.namespace_id = c.namespace_id and e.chunk_id = c.chunk_id and e.model_id + 0 = v_model  -- by the chunk
    where i.namespace_id = v_namespace_id and i.key = get_chunks.key
    order by c.ordinal;
end;
$get_chunks$;
revoke all on function kompanion.get_chunks(text, text, text) from public;
comment on function kompanion.get_chunks(text, text, text) is
    'The chunks of a live item, with their vectors of a model (by default the default one), NULL where there is none yet. KM005 for an unknown model.';

create function kompanion.list_items(
    scope     text,
    filter    jsonb   default null,
    tags_any  text[]  default null,
    tags_all  text[]  default null,
    tags_none text[]  default null,
    thread    text    default null,
    page_size integer default 50,
    after     text    default null
)
    returns table (namespace text, namespace_id uuid, item_id uuid, key text, content text, metadata jsonb, tags text[],
                   item_thread text, user_key text, actor text, revision integer, content_revision integer,
                   created_at timestamptz, updated_at timestamptz, expires_at timestamptz, cursor text)
    language plpgsql
    stable
    set search_path from current
    set plan_cache_mode = force_custom_plan  -- which conditions are there decides the plan
    set jit = off  -- over many namespaces it looks dear enough to be compiled, which takes longer than it does
as $list_items$
-- One page of the live items of a scope, newest first: of each namespace its newest are read, in order, no more than a page of
-- them, and all else of those that are shown.
declare
    v_ids    uuid[] := coalesce(_scope_ids(scope), array(select n.namespace_id from live_namespaces n));
    v_filter jsonpath := compile_filter(filter);
    v_range  record;
    v_at     timestamptz;
    v_id     uuid;
begin
    perform _check_page(page_size);
    select * into v_range from _indexed_ranges(filter);
    select c.at, c.id into v_at, v_id from _read_cursor(after) c;
    return query
    select i.namespace, i.namespace_id, i.item_id, i.key, i.content, i.metadata, i.tags, i.thread, i.user_key, i.actor,
           i.revision, i.content_revision, i.created_at, i.updated_at, i.expires_at, _write_cursor(i.created_at, i.item_id)
    from (
        select n.id, l.item_id
        from unnest(v_ids) as n (id)
        cross join lateral (
            select l.item_id, l.created_at
            from memory_items l
            where l.namespace_id = n.id and is_live(l.deleted_at, l.expires_at)
              and (after is null or (l.created_at, l.item_id) < (v_at, v_id))
              and (v_filter is null or l.metadata @@ v_filter)
              and (v_range.number_key is null
                   or metadata_number(l.metadata, v_range.number_key) between v_range.number_low and v_range.number_high)
              and (v_range.text_key is null
                   or metadata_text(l.metadata, v_range.text_key) collate "C" between v_range.text_low and v_range.text_high)
              and (tags_any is null or l.tags && tags_any)
              and (tags_all is null or l.tags @> tags_all)
              and (tags_none is null or not l.tags && tags_none)
              and (list_items.thread is null or l.thread_id = (select t.thread_id from threads t
                                                               where t.namespace_id = n.id and t.key = list_items.thread))
            order by l.created_at desc, l.item_id desc
            limit page_size) l
        order by l.created_at desc, l.item_id desc
        limit page_size) p
    join live_items i on i.namespace_id = p.id and i.item_id = p.item_id
    order by i.created_at desc, i.item_id desc;
end;
$list_items$;
revoke all on function kompanion.list_items(text, jsonb, text[], text[], text[], text, integer, text) from public;
comment on function kompanion.list_items(text, jsonb, text[], text[], text[], text, integer, text) is
    'Live items of a scope, newest first, by metadata filter, tags and thread; next page: after => the cursor of the last row.';

create function kompanion.item_history(
    namespace text,
    key       text
)
    returns table (item_id uuid, revision integer, content text, metadata jsonb, tags text[], thread text, user_key text,
                   actor text, updated_at timestamptz, superseded_at timestamptz, expires_at timestamptz,
                   deleted_at timestamptz)
    language plpgsql
    stable
    set search_path from current
    set plan_cache_mode = force_generic_plan  -- by the whole key, also in a namespace that the statistics do not know
as $item_history$
-- Every revision that is kept, the oldest first; the current one has no superseded_at. Shows deleted items too.
declare
    v_namespace_id uuid := namespace_id(namespace);
begin
    return query
    select r.item_id, r.revision, r.content, r.metadata, r.tags, t.key, u.key,
           r.actor, r.updated_at, r.superseded_at, r.expires_at, r.deleted_at
    from memory_items i
    join live_namespaces n on n.namespace_id = i.namespace_id
    cross join lateral (
        select h.item_id, h.revision, h.content, h.metadata, h.tags, h.thread_id, h.user_id, h.actor,
               h.updated_at, h.superseded_at, h.expires_at, h.deleted_at
        from memory_item_revisions h
        where h.namespace_id = i.namespace_id and h.item_id = i.item_id
        union all
        select i.item_id, i.revision, i.content, i.metadata, i.tags, i.thread_id, i.user_id, i.actor,
               i.updated_at, null, i.expires_at, i.deleted_at
    ) r
    left join threads t on t.namespace_id = i.namespace_id and t.thread_id = r.thread_id
    left join users u on u.namespace_id = i.namespace_id and u.user_id = r.user_id
    where i.namespace_id = v_namespace_id and i.key = item_history.key
    order by r.revision;
end;
$item_history$;
revoke all on function kompanion.item_history(text, text) from public;
comment on function kompanion.item_history(text, text) is
    'Every kept revision of an item, the oldest first, with actor and times; also of a deleted one. No row when it never was, was purged, or its namespace is deleted.';

create function kompanion.item_as_of(
    namespace text,
    key       text,
    at        timestamptz
)
    returns table (item_id uuid, revision integer, content text, metadata jsonb, tags text[], thread text, user_key text,
                   actor text, updated_at timestamptz, superseded_at timestamptz, expires_at timestamptz)
    language plpgsql
    stable
    set search_path from current
as $item_as_of$
-- The item as a reader saw it at that moment: the revision then current, unless deleted or expired by then.
begin
    if at is null then
        raise exception using
            errcode = 'KM007', message = 'at: is null', hint = 'Give the moment to look back to.';
    end if;
    return query
    select h.item_id, h.revision, h.content, h.metadata, h.tags, h.thread, h.user_key, h.actor, h.updated_at,
           h.superseded_at, h.expires_at
    from item_history(namespace, key) h
    where h.updated_at <= at and (h.superseded_at is null or h.superseded_at > at)
      and h.deleted_at is null and (h.expires_at is null or h.expires_at > at);
end;
$item_as_of$;
revoke all on function kompanion.item_as_of(text, text, timestamptz) from public;
comment on function kompanion.item_as_of(text, text, timestamptz) is
    'The item as it was at a moment; no row when it was not there, deleted or expired by then.';
