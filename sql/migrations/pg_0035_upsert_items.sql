-- depends: pg_0034_merge
-- The set form of upsert_item: many items as JSON.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion.upsert_items(
    items jsonb,
    model text default null
)
    returns table (ord integer, item_id uuid, revision integer, status text)
    language plpgsql
    volatile
    set search_path from current
as $upsert_items$
-- Writes a JSON list of items, each an object with the names of upsert_item's arguments; vectors is a list of lists.
declare
    v_unknown text;
begin
    if jsonb_typeof(items) is distinct from 'array' then
        raise exception using
            errcode = 'KM007',
            message = format('items: is a JSON %s, not a list', coalesce(jsonb_typeof(items), 'NULL')),
            hint    = 'Give a list of objects: [{"namespace": "a", "key": "b", "content": "c"}].';
    end if;
    select format('items[%s]: has no field %L', e.n, f.key) into v_unknown
    from jsonb_array_elements(items) with ordinality e (item, n)
    cross join lateral jsonb_object_keys(case jsonb_typeof(e.item) when 'object' then e.item else '{"(not an object)": 0}' end) f (key)
    where f.key not in ('namespace', 'key', 'content', 'metadata', 'tags', 'thread', 'user_key', 'expires_at', 'ttl',
                        'expected_revision', 'actor', 'created_at', 'chunks', 'chunk_starts', 'chunk_ends', 'vectors')
    limit 1;
    if found then
        raise exception using
            errcode = 'KM007', message = v_unknown, hint = 'The fields are the arguments of upsert_item.';
    end if;

    perform begin_staging();
    begin
        insert into pg_temp.staged_items (ord, namespace, key, content, metadata, tags, thread, user_key, expires_at, expected_revision,
                                  actor, created_at)
        select e.n, i.namespace, i.key, i.content, i.metadata, i.tags, i.thread, i.user_key, _expiry(i.expires_at, i.ttl, format('items[%s].', e.n)),
               i.expected_revision, i.actor, i.created_at
        from jsonb_array_elements(items) with ordinality e (item, n)
        cross join lateral jsonb_to_record(e.item) as i (
            namespace text, key text, content text, metadata jsonb, tags text[], thread text, user_key text, expires_at timestamptz,
            ttl interval, expected_revision integer, actor text, created_at timestamptz);
        insert into pg_temp.staged_chunks (ord, ordinal, content, start_offset, end_offset, vector)
        select e.n, c.n - 1, c.content, c.s, c.e, nullif(c.v::text, 'null')::vector
        from jsonb_array_elements(items) with ordinality e (item, n)
        cross join lateral jsonb_to_record(e.item) as i (
            chunks text[], chunk_starts integer[], chunk_ends integer[], vectors jsonb)
        cross join lateral rows from (
            unnest(i.chunks), unnest(i.chunk_starts), unnest(i.chunk_ends),
            jsonb_array_elements(nullif(i.vectors, 'null'))
        ) with ordinality as c (content, s, e, v, n);
    exception when data_exception then
        raise exception using
            errcode = 'KM007',
            message = format('items: a field has a value of the wrong form: %s', sqlerrm),
            hint    = 'The fields are the arguments of upsert_item, with their types.';
    end;
    return query
    select m.ord, m.item_id, m.revision, m.status from merge_staged(upsert_items.model) m order by m.ord;
end;
$upsert_items$;
revoke all on function kompanion.upsert_items(jsonb, text) from public;
comment on function kompanion.upsert_items(jsonb, text) is
    'Write a JSON list of items, each an object with the names of upsert_item''s arguments (ord counts from 1); one status per item, all or nothing. For millions, COPY into the staging tables: see begin_staging.';
