-- depends: pg_0024_retention
-- Writing many items: staged in temporary tables, by COPY or from JSON, then merged in a few statements.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion.begin_staging()
    returns void
    language plpgsql
    volatile
    set search_path from current
    set client_min_messages = warning
as $begin_staging$
-- Makes the two staging tables of this session ready and empty; they empty themselves at the end of the transaction.
-- A staged item without rows in staged_chunks is one chunk; a staged chunk without content is the whole item.
begin
    if to_regclass('pg_temp.staged_items') is null then
        create temporary table staged_items (
            ord               integer not null,
            item_id           uuid not null default gen_random_uuid(),
            namespace         text,
            namespace_id      uuid,
            key               text,
            content           text,
            metadata          jsonb,
            tags              text[],
            thread            text,
            user_key          text,
            expires_at        timestamptz,
            expected_revision integer,
            actor             text,
            created_at        timestamptz
        ) on commit delete rows;
        create temporary table staged_chunks (
            ord          integer not null,
            ordinal      integer not null,
            content      text,
            start_offset integer,
            end_offset   integer,
            vector       vector
        ) on commit delete rows;
    else
        delete from pg_temp.staged_items;
        delete from pg_temp.staged_chunks;
    end if;
end;
$begin_staging$;
revoke all on function kompanion.begin_staging() from public;
comment on function kompanion.begin_staging() is
    'Make the temporary tables staged_items and staged_chunks of this session ready; then COPY into them and call merge_staged in the same transaction.';

create function kompanion._check_staged(
    dim    integer,
    metric text
)
    returns void
    language plpgsql
    volatile
    set search_path from current
as $_check_staged$
-- Every rule of upsert_item for the rows that are staged. The cheap tests in WHERE only spare calls that would pass.
declare
    v_wrong bigint;
begin
    update staged_items s set namespace_id = namespace_id(s.namespace)
    where s.namespace_id is null;
    -- Materialized, so that each namespace is looked at once and not each row.
    with spaces as materialized (select distinct s.namespace, s.namespace_id from staged_items s order by 1, 2)
    select count(*) filter (where ensure_namespace(n.namespace) <> n.namespace_id) into v_wrong from spaces n;
    if v_wrong > 0 then
        raise exception using
            errcode = 'KM002', message = 'namespace_id: is not that of namespace', hint = 'Leave namespace_id NULL, or give namespace_id(namespace).';
    end if;
    perform _check_name(format('items[%s].key', s.ord), s.key)
    from staged_items s where s.key = '' or length(s.key) > 512;
    perform _check_name(format('items[%s].%s', s.ord, n.name), n.value)
    from staged_items s cross join lateral (values ('thread', s.thread), ('user_key', s.user_key)) n (name, value)
    where n.value = '' or length(n.value) > 512;
    perform _normalize_tags(s.tags, format('items[%s].', s.ord))
    from staged_items s
    where cardinality(s.tags) > 64 or exists (select 1 from unnest(s.tags) l (tag) where coalesce(length(l.tag), 0) not between 1 and 128);
    perform _check_content(s.content, format('items[%s].content', s.ord))
    from staged_items s where s.content is null or octet_length(s.content) > 4000000;
    perform _check_metadata(s.metadata, format('items[%s].metadata', s.ord))
    from staged_items s where s.metadata is not null and (jsonb_typeof(s.metadata) <> 'object' or pg_column_size(s.metadata) > 4000);
    perform _expiry(s.expires_at, null, format('items[%s].', s.ord))
    from staged_items s where s.expires_at is not null;
    perform _check_moment(format('items[%s].created_at', s.ord), s.created_at)
    from staged_items s where s.created_at not between '0001-01-03 00:00:00+00' and '9999-12-29 00:00:00+00';
    perform _check_chunks(i.content, c.texts, c.starts, c.ends, format('items[%s].', i.ord))
    from (select s.ord, array_agg(s.content order by s.ordinal) as texts, array_agg(s.start_offset order by s.ordinal) as starts,
                 array_agg(s.end_offset order by s.ordinal) as ends
          from staged_chunks s where s.content is not null group by 1) c
    join staged_items i on i.ord = c.ord;
    select min(w.ord) into v_wrong
    from (select c.ord from staged_chunks c join staged_items s on s.ord = c.ord
               group by c.ord having bool_or(c.content is null) and (count(*) > 1 or count(c.start_offset) + count(c.end_offset) > 0)
                                  or bool_or(c.content is null and s.content !~ '\S')) w;
    if v_wrong is not null then
        raise exception using
            errcode = 'KM007', message = format('items[%s].vectors: there are more vectors or offsets than chunks', v_wrong),
            hint    = 'Give one start, one end and at most one vector for each chunk; content without chunks given is one chunk.';
    end if;
    if exists (select 1 from staged_chunks c group by c.ord having min(c.ordinal) <> 0 or max(c.ordinal) <> count(*) - 1
                                                                or count(distinct c.ordinal) <> count(*)) then
        raise exception using
            errcode = 'KM007', message = 'staged_chunks: the ordinals of an item have gaps or repeat',
            hint    = 'Number the chunks of an item 0, 1, 2 ...';
    end if;
    perform _check_vector(format('items[%s].vectors[%s]', c.ord, c.ordinal + 1), c.vector, dim, metric)
    from staged_chunks c
    where c.vector is not null and (vector_dims(c.vector) <> dim or vector_norm(c.vector) = 0);
end;
$_check_staged$;
revoke all on function kompanion._check_staged(integer, text) from public;
comment on function kompanion._check_staged(integer, text) is 'Internal. The rules of upsert_item for staged rows.';

create function kompanion._insert_staged(
    model_id integer
)
    returns setof integer
    language plpgsql
    volatile
    set search_path from current
as $_insert_staged$
-- Inserts the staged items whose names are new, with chunks, vectors and queue, and returns their places.
-- In order of their keys, so that two loads that meet wait for each other instead of deadlocking.
begin
    perform _thread_id(t.namespace_id, t.thread)
    from (select distinct s.namespace_id, s.thread from staged_items s where s.thread is not null order by 1, 2) t;
    perform _user_id(u.namespace_id, u.user_key)
    from (select distinct s.namespace_id, s.user_key from staged_items s where s.user_key is not null order by 1, 2) u;

    return query
    with fresh as materialized (
        insert into memory_items as i (namespace_id, item_id, key, content, metadata, tags, thread_id, user_id, actor, created_at, expires_at)
        select s.namespace_id, s.item_id, coalesce(s.key, s.item_id::text), s.content, coalesce(s.metadata, '{}'),
               -- As _normalize_tags, which has checked them, without the cost of a call.
               coalesce((select array_agg(distinct l.tag collate "C" order by l.tag collate "C") from unnest(s.tags) l (tag)), '{}'),
               t.thread_id, u.user_id, s.actor,
               coalesce(s.created_at, clock_timestamp()), s.expires_at
        from staged_items s
        left join threads t on t.namespace_id = s.namespace_id and t.key = s.thread
        left join users u on u.namespace_id = s.namespace_id and u.key = s.user_key
        where coalesce(s.expected_revision, 0) = 0
          -- A name that is also staged with a revision to be found goes through upsert_item, in its order from the first on.
          and (s.key is null or (s.namespace_id, s.key) not in (
               select f.namespace_id, f.key from staged_items f where f.expected_revision > 0 and f.key is not null))
        order by s.namespace_id, s.key, s.ord
        on conflict on constraint memory_items_namespace_key_uq do nothing
        returning i.namespace_id, i.item_id, i.thread_id, i.tags, i.expires_at, i.content
    ), cut as materialized (
        select s.ord, f.namespace_id, f.item_id, coalesce(c.ordinal, 0) as ordinal, coalesce(c.content, f.content) as content,
               coalesce(c.start_offset, 0) as start_offset, coalesce(c.end_offset, length(f.content)) as end_offset, c.vector
        from fresh f
        join staged_items s on s.item_id = f.item_id
        left join staged_chunks c on c.ord = s.ord
        where c.ord is not null or f.content ~ '\S'
    ), chunks as (
        insert into memory_chunks as k (namespace_id, item_id, ordinal, content, start_offset, end_offset, content_revision)
        select c.namespace_id, c.item_id, c.ordinal, c.content, c.start_offset, c.end_offset, 1
        from cut c
        returning k.namespace_id, k.chunk_id, k.item_id, k.ordinal
    ), vectors as (
        insert into embeddings (namespace_id, chunk_id, model_id, item_id, thread_id, tags, expires_at, deleted_at, vector)
        select k.namespace_id, k.chunk_id, _insert_staged.model_id, k.item_id, f.thread_id, f.tags, f.expires_at, null, c.vector
        from chunks k
        join cut c on c.item_id = k.item_id and c.ordinal = k.ordinal
        join fresh f on f.item_id = k.item_id
        where c.vector is not null
    ), queued as (
        insert into embedding_queue (namespace_id, chunk_id, model_id)
        select k.namespace_id, k.chunk_id, m.model_id
        from chunks k
        join cut c on c.item_id = k.item_id and c.ordinal = k.ordinal
        cross join embedding_models m
        where m.retired_at is null and (c.vector is null or m.model_id <> _insert_staged.model_id)
    )
    select s.ord from fresh f join staged_items s on s.item_id = f.item_id;
end;
$_insert_staged$;
revoke all on function kompanion._insert_staged(integer) from public;
comment on function kompanion._insert_staged(integer) is 'Internal. Inserts the staged items whose names are new; returns their places.';

create function kompanion.merge_staged(
    model text default null
)
    returns table (ord integer, item_id uuid, revision integer, status text)
    language plpgsql
    volatile
    set search_path from current
as $merge_staged$
-- Writes what is staged: new names in a few statements, names that exist through upsert_item one by one, those of one name in their order.
-- One status per staged item; all or nothing.
declare
    v_model record;
    v_done  integer[];
    r       record;
    w       record;
begin
    if to_regclass('pg_temp.staged_items') is null then
        raise exception using
            errcode = 'KM007', message = 'staged_items: nothing is staged in this session',
            hint    = 'Call begin_staging() and fill pg_temp.staged_items in the same transaction first.';
    end if;
    if merge_staged.model is not null or exists (select 1 from staged_chunks c where c.vector is not null) then
        select * into v_model from _model(merge_staged.model);
    else
        select null::integer as model_id, null::text as model, null::integer as dim, null::text as metric into v_model;
    end if;
    perform _check_staged(v_model.dim, v_model.metric);
    v_done := array(select n from _insert_staged(v_model.model_id) n);
    return query
    select s.ord, s.item_id, 1, 'inserted' from staged_items s join unnest(v_done) d (ord) on d.ord = s.ord;

    if cardinality(v_done) = (select count(*) from staged_items s) then
        return;
    end if;
    for r in
        select s.*, c.texts, c.starts, c.ends, c.vectors
        from staged_items s
        left join lateral (
            select array_agg(coalesce(k.content, s.content) order by k.ordinal) as texts,
                   array_agg(coalesce(k.start_offset, 0) order by k.ordinal) as starts,
                   array_agg(coalesce(k.end_offset, length(s.content)) order by k.ordinal) as ends,
                   case when count(k.vector) > 0 then array_agg(k.vector order by k.ordinal) end as vectors
            from staged_chunks k where k.ord = s.ord) c on true
        where not exists (select 1 from unnest(v_done) d (ord) where d.ord = s.ord)
        order by s.namespace_id, s.key, s.ord  -- as _insert_staged: loads that meet wait for each other in one order
    loop
        select u.* into w
        from upsert_item(r.namespace, r.key, r.content, r.metadata, r.tags, r.thread, r.user_key, r.expires_at, null,
                         r.expected_revision, r.actor, r.created_at, r.texts, r.starts, r.ends, r.vectors, v_model.model) u;
        ord := r.ord; item_id := w.item_id; revision := w.revision; status := w.status;
        return next;
    end loop;
end;
$merge_staged$;
revoke all on function kompanion.merge_staged(text) from public;
comment on function kompanion.merge_staged(text) is
    'Write the items staged in this transaction, with their chunks and vectors of one model; one status per item, all or nothing. The rules are those of upsert_item.';
