-- depends: pg_0031_tuning
-- Retention and figures: what is past its time is removed in batches, what is there is counted.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion.trim_history(
    keep_for  interval default null,
    keep_last integer  default 0,
    batch     integer  default 1000
)
    returns bigint
    language plpgsql
    volatile
    set search_path from current
as $trim_history$
-- Removes up to batch superseded revisions, the oldest first, that were superseded longer ago than keep_for
-- and are not among the last keep_last of their item. The current revision always stays.
declare
    v_keep_for interval := coalesce(keep_for, (setting('retention_revisions') #>> '{}')::interval);
    v_count    bigint;
begin
    perform _check_batch(batch);
    if keep_last is null or keep_last < 0 or extract(epoch from v_keep_for) not between 0 and extract(epoch from interval '1000 years') then
        raise exception using
            errcode = 'KM007', message = 'keep_for, keep_last: are negative, or keep_for is over 1000 years', hint = 'Give a duration and a number from 0 up.';
    end if;
    with old as materialized (
        select h.namespace_id, h.item_id, h.revision
        from memory_item_revisions h
        join memory_items i on i.namespace_id = h.namespace_id and i.item_id = h.item_id
        where h.superseded_at < now() - v_keep_for and h.revision < i.revision - keep_last
        order by h.superseded_at
        limit batch
        for update of h skip locked
    )
    delete from memory_item_revisions h
    using old o
    where h.namespace_id = o.namespace_id and h.item_id = o.item_id and h.revision = o.revision;
    get diagnostics v_count = row_count;
    return v_count;
end;
$trim_history$;
revoke all on function kompanion.trim_history(interval, integer, integer) from public;
comment on function kompanion.trim_history(interval, integer, integer) is
    'Remove a batch of old superseded revisions; keep_for defaults to the setting retention_revisions, and NULL there keeps all. Returns how many; call until 0.';

create function kompanion.purge(
    batch integer default 1000
)
    returns table (items bigint, revisions bigint, namespaces bigint)
    language plpgsql
    volatile
    set search_path from current
    set plan_cache_mode = force_generic_plan  -- by the indexes of what is past its time, and then by key, whatever the
    set enable_seqscan = off                  -- statistics say: where there is nothing to remove, nothing is read
    set enable_bitmapscan = off
    set enable_hashjoin = off
    set enable_mergejoin = off
    set jit = off
as $purge$
-- Removes for good, up to batch of each kind, what is past its retention: items deleted or expired long ago, superseded
-- revisions, deleted namespaces once they are empty. Rows another purge holds are skipped, so many may run at once; a namespace
-- that is being restored is left, and restoring one waits for what is being removed of it.
declare
    v_deleted timestamptz := now() - (setting('retention_deleted') #>> '{}')::interval;
    v_expired timestamptz := now() - (setting('retention_expired') #>> '{}')::interval;
    v_count   bigint;
begin
    perform _check_batch(batch);
    -- A statement for each reason: one for any of them could go by no index.
    with gone as materialized (
        select i.namespace_id, i.item_id
        from memory_items i
        where i.deleted_at < v_deleted
        order by i.deleted_at
        limit batch
        for update skip locked
    )
    delete from memory_items i
    using gone g
    where i.namespace_id = g.namespace_id and i.item_id = g.item_id;
    get diagnostics items = row_count;

    with gone as materialized (
        select i.namespace_id, i.item_id
        from memory_items i
        where i.expires_at < v_expired
        order by i.expires_at
        limit batch - items
        for update skip locked
    )
    delete from memory_items i
    using gone g
    where i.namespace_id = g.namespace_id and i.item_id = g.item_id;
    get diagnostics v_count = row_count;
    items := items + v_count;

    -- Whether a namespace is empty is looked up for each: a join could read all items.
    with spaces as materialized (
        select n.namespace_id
        from kompanion.namespaces n
        where n.deleted_at < v_deleted
          and (select true from memory_items i where i.namespace_id = n.namespace_id limit 1)
        order by n.deleted_at
        limit batch
        for share skip locked
    ), gone as materialized (
        select i.namespace_id, i.item_id
        from spaces s
        cross join lateral (
            select m.namespace_id, m.item_id
            from memory_items m
            where m.namespace_id = s.namespace_id
            order by m.item_id
            limit batch - items
            for update skip locked
        ) i
        limit batch - items
    )
    delete from memory_items i
    using gone g
    where i.namespace_id = g.namespace_id and i.item_id = g.item_id;
    get diagnostics v_count = row_count;
    items := items + v_count;

    revisions := trim_history(batch => purge.batch);

    with gone as materialized (
        select n.namespace_id
        from kompanion.namespaces n
        where n.deleted_at < v_deleted
          and (select true from memory_items i where i.namespace_id = n.namespace_id limit 1) is null
        order by n.deleted_at
        limit batch
        for update skip locked
    )
    delete from kompanion.namespaces n
    using gone g
    where n.namespace_id = g.namespace_id;
    get diagnostics namespaces = row_count;
    return next;
end;
$purge$;
revoke all on function kompanion.purge(integer) from public;
comment on function kompanion.purge(integer) is
    'Remove for good a batch of what is past its retention (see settings); returns counts, call until all are 0. Safe from cron, and many at once.';

create function kompanion._check_batch(
    batch integer
)
    returns void
    language plpgsql
    immutable parallel safe
    set search_path from current
as $_check_batch$
-- A batch is one transaction: large enough to be quick, small enough to hold locks briefly.
begin
    if batch is null or batch not between 1 and 100000 then
        raise exception using
            errcode = 'KM007',
            message = format('batch: %s is not between 1 and 100000', coalesce(batch::text, 'NULL')),
            hint    = 'Take small batches and call again until nothing is left.';
    end if;
end;
$_check_batch$;
revoke all on function kompanion._check_batch(integer) from public;
comment on function kompanion._check_batch(integer) is 'Internal. KM007 unless a batch has 1 to 100,000 rows.';

create function kompanion.stats(
    scope text default '*'
)
    returns table (namespace text, model text, items bigint, live bigint, expired bigint, deleted bigint, revisions bigint,
                   chunks bigint, embedded bigint, unembedded bigint, bytes bigint)
    language plpgsql
    stable
    set search_path from current
    set plan_cache_mode = force_custom_plan
as $stats$
-- One row per namespace and model in use: items by state, chunks of live items with and without a vector, and the
-- bytes of item and chunk rows and of the model's vectors as stored. A namespace without a model has one row.
declare
    v_ids uuid[] := _scope_ids(scope);
begin
    return query
    with i as (
        select m.namespace_id, count(*) as items,
               count(*) filter (where is_live(m.deleted_at, m.expires_at)) as live,
               count(*) filter (where m.deleted_at is null and not is_live(null, m.expires_at)) as expired,
               count(*) filter (where m.deleted_at is not null) as deleted,
               sum(pg_column_size(m.*))::bigint as bytes
        from memory_items m where v_ids is null or m.namespace_id = any (v_ids) group by 1
    ), h as (
        select r.namespace_id, count(*) as revisions, sum(pg_column_size(r.*))::bigint as bytes
        from memory_item_revisions r where v_ids is null or r.namespace_id = any (v_ids) group by 1
    ), c as (
        select k.namespace_id, count(*) filter (where is_live(m.deleted_at, m.expires_at)) as live,
               sum(pg_column_size(k.*))::bigint as bytes
        from memory_chunks k
        join memory_items m on m.namespace_id = k.namespace_id and m.item_id = k.item_id
        where v_ids is null or k.namespace_id = any (v_ids) group by 1
    ), e as (
        select b.namespace_id, b.model_id, count(*) filter (where is_live(b.deleted_at, b.expires_at)) as live,
               sum(pg_column_size(b.*))::bigint as bytes
        from embeddings b where v_ids is null or b.namespace_id = any (v_ids) group by 1, 2
    )
    select n.path, m.name, coalesce(i.items, 0), coalesce(i.live, 0), coalesce(i.expired, 0), coalesce(i.deleted, 0),
           coalesce(i.items, 0) + coalesce(h.revisions, 0), coalesce(c.live, 0), coalesce(e.live, 0),
           coalesce(c.live, 0) - coalesce(e.live, 0),
           coalesce(i.bytes, 0) + coalesce(h.bytes, 0) + coalesce(c.bytes, 0) + coalesce(e.bytes, 0)
    from live_namespaces n
    left join embedding_models m on m.retired_at is null
    left join i on i.namespace_id = n.namespace_id
    left join h on h.namespace_id = n.namespace_id
    left join c on c.namespace_id = n.namespace_id
    left join e on e.namespace_id = n.namespace_id and e.model_id = m.model_id
    where v_ids is null or n.namespace_id = any (v_ids)
    order by n.segments, m.model_id;
end;
$stats$;
revoke all on function kompanion.stats(text) from public;
comment on function kompanion.stats(text) is
    'Figures per namespace and model: items live, expired, deleted, revisions, chunks with and without a vector, bytes stored. Reads every row of the scope.';
