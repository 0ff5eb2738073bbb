-- depends: pg_0033_bulk
-- Writing many items, second half: what is staged is merged in a few statements.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._insert_staged(
    model_id   integer,
    created_at timestamptz
)
    returns setof integer
    language plpgsql
    volatile
    set search_path from current
as $_insert_staged$
-- Inserts the staged items whose names are new, with chunks, vectors and queue, and returns their places.
-- In order of their keys, so that two loads that meet wait for each other instead of deadlocking; but each is older than the
-- one after it by a microsecond, so that lists have them in the order in which they were given.
declare
    v_queue boolean;
    v_ords  integer[] := array(select s.ord from pg_temp.staged_items s order by 1);
begin
    perform _thread_id(t.namespace_id, t.thread)
    from (select distinct s.namespace_id, s.thread from pg_temp.staged_items s where s.thread is not null order by 1, 2) t;
    perform _user_id(u.namespace_id, u.user_key)
    from (select distinct s.namespace_id, s.user_key from pg_temp.staged_items s where s.user_key is not null order by 1, 2) u;

    -- Without chunks that wait for a vector and without other models nothing is queued, and nothing is looked for.
    v_queue := exists (select 1 from embedding_models m where m.retired_at is null and m.model_id is distinct from _insert_staged.model_id)
               or exists (select 1 from pg_temp.staged_chunks c where c.vector is null)
               or (select count(distinct c.ord) from pg_temp.staged_chunks c) < (select count(*) from pg_temp.staged_items s);

    return query
    with fresh as materialized (
        insert into memory_items as i (namespace_id, item_id, key, content, metadata, tags, thread_id, user_id, actor, created_at, expires_at)
        select s.namespace_id, s.item_id, coalesce(s.key, s.item_id::text), s.content, coalesce(s.metadata, '{}'),
               -- As _normalize_tags, which has checked them, without the cost of a call; a single one is sorted already.
               case when array_dims(s.tags) = '[1:1]' then s.tags
               else coalesce((select array_agg(distinct l.tag collate "C" order by l.tag collate "C") from unnest(s.tags) l (tag)), '{}') end,
               t.thread_id, u.user_id, s.actor,
               coalesce(s.created_at, _insert_staged.created_at + width_bucket(s.ord, v_ords) * interval '1 microsecond'), s.expires_at
        from pg_temp.staged_items s
        left join threads t on t.namespace_id = s.namespace_id and t.key = s.thread
        left join users u on u.namespace_id = s.namespace_id and u.key = s.user_key
        where coalesce(s.expected_revision, 0) = 0
          -- A name that is also staged with a revision to be found goes through upsert_item, in its order from the first on.
          and (s.key is null or (s.namespace_id, s.key) not in (
               select f.namespace_id, f.key from pg_temp.staged_items f where f.expected_revision > 0 and f.key is not null))
        order by s.namespace_id, s.key collate "C", s.ord
        on conflict on constraint memory_items_namespace_key_uq do nothing
        returning i.namespace_id, i.item_id, i.thread_id, i.tags, i.expires_at
    ), placed as materialized (
        select s.ord, f.namespace_id, f.item_id, f.thread_id, f.tags, f.expires_at
        from fresh f
        join pg_temp.staged_items s on s.item_id = f.item_id
    ), chunks as (
        insert into memory_chunks as k (namespace_id, item_id, ordinal, content, start_offset, end_offset, content_revision)
        select s.namespace_id, s.item_id, coalesce(c.ordinal, 0), coalesce(c.content, s.content),
               coalesce(c.start_offset, 0), coalesce(c.end_offset, length(s.content)), 1
        from placed p
        join pg_temp.staged_items s on s.ord = p.ord and s.item_id = p.item_id
        left join pg_temp.staged_chunks c on c.ord = s.ord
        where c.ord is not null or _is_visible(s.content)
        returning k.namespace_id, k.chunk_id, k.item_id, k.ordinal
    ), numbered as materialized (
        select p.*, k.chunk_id, k.ordinal from chunks k join placed p on p.namespace_id = k.namespace_id and p.item_id = k.item_id
    ), vectors as (
        insert into embeddings (namespace_id, chunk_id, model_id, item_id, thread_id, tags, expires_at, deleted_at, vector)
        select n.namespace_id, n.chunk_id, _insert_staged.model_id, n.item_id, n.thread_id, n.tags, n.expires_at, null, c.vector
        from pg_temp.staged_chunks c
        join numbered n on n.ord = c.ord and n.ordinal = c.ordinal
        where c.vector is not null
    ), queued as (
        insert into embedding_queue (namespace_id, chunk_id, model_id)
        select n.namespace_id, n.chunk_id, m.model_id
        from numbered n
        left join pg_temp.staged_chunks c on c.ord = n.ord and c.ordinal = n.ordinal
        cross join embedding_models m
        where v_queue and m.retired_at is null and (c.vector is null or m.model_id <> _insert_staged.model_id)
    )
    select p.ord from placed p;
end;
$_insert_staged$;
revoke all on function kompanion._insert_staged(integer, timestamptz) from public;
comment on function kompanion._insert_staged(integer, timestamptz) is 'Internal. Inserts the staged items whose names are new; returns their places.';

create function kompanion._unchanged_staged(
    model_id integer,
    done     integer[]
)
    returns table (ord integer, item_id uuid, revision integer)
    language plpgsql
    stable
    set search_path from current
as $_unchanged_staged$
-- Those of the staged items not done yet that stand in the store just so, with their chunks and vectors: nearly all when a load is
-- run again. Not locked: one that is changed from now on was unchanged before. Not among them is a name that is staged twice, as
-- what it stands at depends on the other. "offset 0": by their keys, whatever the statistics say of tables that were just filled.
begin
    return query
    with given as materialized (
        select s.ord, i.namespace_id, i.item_id, i.revision, s.content
        from (select *, count(*) over (partition by g.namespace_id, g.key) as times
              from pg_temp.staged_items g
              where g.ord not in (select unnest(_unchanged_staged.done))) s
        cross join lateral (
            select m.namespace_id, m.item_id, m.revision
            from memory_items m
            where m.namespace_id = s.namespace_id and m.key = s.key and m.content = s.content and m.metadata = coalesce(s.metadata, '{}')
              and m.tags @> coalesce(s.tags, '{}') and m.tags <@ coalesce(s.tags, '{}')
              and m.expires_at is not distinct from s.expires_at and m.deleted_at is null
              and m.thread_id is not distinct from (select t.thread_id from threads t where t.namespace_id = s.namespace_id and t.key = s.thread)
              and m.user_id is not distinct from (select u.user_id from users u where u.namespace_id = s.namespace_id and u.key = s.user_key)
            offset 0) i
        where s.times = 1 and s.expected_revision is null
    ), chunks as materialized (
        select g.ord, count(*) as given, count(k.chunk_id) as same
        from given g
        join pg_temp.staged_chunks c on c.ord = g.ord
        left join lateral (
            select k.chunk_id
            from memory_chunks k
            where k.namespace_id = g.namespace_id and k.item_id = g.item_id and k.ordinal = c.ordinal
              and k.content = coalesce(c.content, g.content)
              and k.start_offset = coalesce(c.start_offset, 0) and k.end_offset = coalesce(c.end_offset, length(g.content))
              and (c.vector is null
                   or exists (select 1 from embeddings e where e.namespace_id = k.namespace_id and e.chunk_id = k.chunk_id
                                and e.model_id + 0 = _unchanged_staged.model_id and e.vector = c.vector offset 0))
            offset 0) k on true
        group by g.ord
    )
    select g.ord, g.item_id, g.revision
    from given g
    left join chunks c on c.ord = g.ord
    where c.ord is null
       or c.same = c.given and c.given = (select count(*) from memory_chunks k where k.namespace_id = g.namespace_id and k.item_id = g.item_id);
end;
$_unchanged_staged$;
revoke all on function kompanion._unchanged_staged(integer, integer[]) from public;
comment on function kompanion._unchanged_staged(integer, integer[]) is 'Internal. The staged items that stand in the store as they are staged.';

create function kompanion.merge_staged(
    model      text        default null,
    created_at timestamptz default null
)
    returns table (ord integer, item_id uuid, revision integer, status text)
    language plpgsql
    volatile
    set search_path from current
    set plan_cache_mode = force_generic_plan  -- by the whole key, also in a namespace that the statistics do not know
as $merge_staged$
-- Writes what is staged: new names in a few statements, and so what is there already; names that stand at something else through
-- upsert_item one by one, those of one name in their order.
-- One status per staged item; all or nothing.
declare
    v_model record;
    v_done  integer[];
    r       record;
    w       record;
begin
    if not _has_staging() then
        raise exception using
            errcode = 'KM007', message = 'staged_items: nothing is staged in this session',
            hint    = 'Call begin_staging() and fill pg_temp.staged_items in the same transaction first.';
    end if;
    if merge_staged.model is not null or exists (select 1 from pg_temp.staged_chunks c where c.vector is not null) then
        select * into v_model from _model(merge_staged.model);
    else
        select null::integer as model_id, null::text as model, null::integer as dim, null::text as metric into v_model;
    end if;
    perform _check_moment('created_at', merge_staged.created_at);
    perform _check_staged(v_model.model_id, v_model.dim, v_model.metric);
    v_done := array(select n from _insert_staged(v_model.model_id, coalesce(merge_staged.created_at, clock_timestamp())) n);
    return query
    select s.ord, s.item_id, 1, 'inserted' from pg_temp.staged_items s join unnest(v_done) d (ord) on d.ord = s.ord;

    if cardinality(v_done) = (select count(*) from pg_temp.staged_items s) then
        return;
    end if;
    for r in select u.* from _unchanged_staged(v_model.model_id, v_done) u loop
        ord := r.ord; item_id := r.item_id; revision := r.revision; status := 'unchanged';
        return next;
        v_done := v_done || r.ord;
    end loop;
    for r in
        select s.*, c.texts, c.starts, c.ends, c.vectors
        from pg_temp.staged_items s
        left join (  -- once for all of them: they have no index
            select k.ord, array_agg(coalesce(k.content, i.content) order by k.ordinal) as texts,
                   array_agg(coalesce(k.start_offset, 0) order by k.ordinal) as starts,
                   array_agg(coalesce(k.end_offset, length(i.content)) order by k.ordinal) as ends,
                   case when count(k.vector) > 0 then array_agg(k.vector order by k.ordinal) end as vectors
            from pg_temp.staged_chunks k join pg_temp.staged_items i on i.ord = k.ord
            where k.ord not in (select unnest(v_done))
            group by k.ord) c on c.ord = s.ord
        where s.ord not in (select unnest(v_done))  -- hashed, while "not exists" is taken to be cheap enough to go through it for each
        order by s.namespace_id, s.key collate "C", s.ord  -- as _insert_staged: loads that meet wait for each other in one order
    loop
        select u.* into w
        -- Without a key it would be written once more, were it merged before, earlier in this transaction.
        from upsert_item(r.namespace, case when r.key is null and exists (select 1 from memory_items i where i.namespace_id = r.namespace_id and i.item_id = r.item_id)
                                      then r.item_id::text else r.key end, r.content, r.metadata, r.tags, r.thread, r.user_key, r.expires_at, null,
                         r.expected_revision, r.actor, r.created_at, r.texts, r.starts, r.ends, r.vectors, v_model.model) u;
        ord := r.ord; item_id := w.item_id; revision := w.revision; status := w.status;
        return next;
    end loop;
end;
$merge_staged$;
revoke all on function kompanion.merge_staged(text, timestamptz) from public;
comment on function kompanion.merge_staged(text, timestamptz) is
    'Write the items staged in this transaction, with their chunks and vectors of one model; one status per item, all or nothing. The rules are those of upsert_item. created_at: when the first of them was made, each next a microsecond later; by default now.';
