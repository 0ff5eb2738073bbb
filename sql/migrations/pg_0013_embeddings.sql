-- depends: pg_0012_model_switch
-- Chunks and their vectors: replaced atomically, claimed by workers, accepted only for the text they were made from.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._check_chunks(
    content text,
    texts   text[],
    starts  integer[],
    ends    integer[],
    place   text default ''
)
    returns void
    language plpgsql
    immutable parallel safe
    set search_path from current
as $_check_chunks$
-- Refuses chunks that are empty, or whose offsets are missing or outside the content.
declare
    v_length integer := length(content);
begin
    if cardinality(texts) <> coalesce(cardinality(starts), -1) or cardinality(texts) <> coalesce(cardinality(ends), -1) then
        raise exception using
            errcode = 'KM007',
            message = format('%schunks: %s texts, %s starts and %s ends', place, cardinality(texts), coalesce(cardinality(starts), 0),
                             coalesce(cardinality(ends), 0)),
            hint    = 'Give one start and one end for each text, in characters of the content, from 0.';
    elsif exists (select 1 from unnest(texts, starts, ends) t (content, s, e)
                  where t.content is null or t.content = '' or t.s is null or t.e is null
                     or t.s < 0 or t.e < t.s or t.e > v_length) then
        raise exception using
            errcode = 'KM007',
            message = place || 'chunks: a text is empty, or its offsets lie outside the content',
            hint    = format('Offsets are characters of the content, 0 <= start <= end <= %s.', v_length);
    end if;
end;
$_check_chunks$;
revoke all on function kompanion._check_chunks(text, text[], integer[], integer[], text) from public;
comment on function kompanion._check_chunks(text, text[], integer[], integer[], text) is
    'Internal. KM007 for chunks that are empty or whose offsets do not fit the content.';

create function kompanion.put_chunks(
    namespace        text,
    key              text,
    texts            text[],
    starts           integer[],
    ends             integer[],
    content_revision integer default null
)
    returns table (chunk_id bigint, ordinal integer, chunk_revision integer, embedded text[])
    language plpgsql
    volatile
    set search_path from current
    set plan_cache_mode = force_generic_plan  -- by the whole key, also in a namespace that the statistics do not know
as $put_chunks$
-- Replaces the chunks of an item in one step; unchanged texts keep their vectors, the others wait for new ones.
declare
    v_item record;
begin
    select i.namespace_id, i.item_id, i.content, i.content_revision into v_item
    from memory_items i
    where i.namespace_id = namespace_id(put_chunks.namespace) and i.key = put_chunks.key
    for no key update;
    if not found then
        perform _raise_no_item(namespace, key);
    elsif v_item.content_revision <> put_chunks.content_revision then
        raise exception using
            errcode = 'KM011',
            message = format('content_revision: the chunks were cut from revision %s of %L, its content is now of revision %s',
                             put_chunks.content_revision, put_chunks.key, v_item.content_revision),
            hint    = 'Read the item again and cut it anew.';
    end if;
    perform _check_chunks(v_item.content, coalesce(texts, '{}'), starts, ends);
    perform _replace_chunks(v_item.namespace_id, v_item.item_id, v_item.content_revision, coalesce(texts, '{}'), starts, ends);
    perform _enqueue_item(v_item.namespace_id, v_item.item_id);
    return query
    select c.chunk_id, c.ordinal, c.revision,
           array(select m.name from embeddings e join embedding_models m on m.model_id = e.model_id
                 where e.namespace_id = c.namespace_id and e.chunk_id = c.chunk_id order by m.model_id)
    from memory_chunks c
    where c.namespace_id = v_item.namespace_id and c.item_id = v_item.item_id
    order by c.ordinal;
end;
$put_chunks$;
revoke all on function kompanion.put_chunks(text, text, text[], integer[], integer[], integer) from public;
comment on function kompanion.put_chunks(text, text, text[], integer[], integer[], integer) is
    'Replace the chunks of an item; unchanged texts keep their vectors. Returns them with the models they have vectors of. KM011 when content_revision is given and no longer current.';

create function kompanion.put_embeddings(
    namespace_ids   uuid[],
    chunk_ids       bigint[],
    chunk_revisions integer[],
    vectors         vector[],
    model           text default null
)
    returns table (namespace_id uuid, chunk_id bigint, status text)
    language plpgsql
    volatile
    set search_path from current
    set plan_cache_mode = force_generic_plan  -- by the whole key, also in a namespace that the statistics do not know
as $put_embeddings$
-- Stores vectors for chunks that are still at the revision they were made from; the others are stale and left alone.
-- Chunk and item are locked against change, so neither a late vector nor a carried column can slip by a writer.
declare
    v_model record;
begin
    select * into v_model from _model(put_embeddings.model);
    if cardinality(chunk_ids) is distinct from cardinality(vectors) or cardinality(chunk_ids) is distinct from cardinality(namespace_ids)
       or cardinality(chunk_ids) is distinct from cardinality(chunk_revisions) then
        raise exception using
            errcode = 'KM007',
            message = 'namespace_ids, chunk_ids, chunk_revisions, vectors: differ in length',
            hint    = 'Give one of each for every chunk, as pending_embeddings returned them.';
    end if;
    perform _check_vector(format('vectors[%s]', v.n), v.vector, v_model.dim, v_model.metric, v_model.model_id)
    from unnest(vectors) with ordinality v (vector, n);

    return query
    with given as materialized (
        select distinct on (g.namespace_id, g.chunk_id) g.*
        from unnest(namespace_ids, chunk_ids, chunk_revisions, vectors) with ordinality
             as g (namespace_id, chunk_id, chunk_revision, vector, n)
        order by g.namespace_id, g.chunk_id, g.n desc
    ), current as materialized (
        select c.namespace_id, c.chunk_id, c.item_id, i.thread_id, i.tags, i.expires_at, i.deleted_at, g.vector
        from given g
        join memory_chunks c on c.namespace_id = g.namespace_id and c.chunk_id = g.chunk_id and c.revision = g.chunk_revision
        join memory_items i on i.namespace_id = c.namespace_id and i.item_id = c.item_id
        order by i.namespace_id, i.key, c.chunk_id  -- the order in which merge_staged locks items: no deadlock
        for share of i, c
    ), stored as (
        insert into embeddings as e (namespace_id, chunk_id, model_id, item_id, thread_id, tags, expires_at, deleted_at, vector)
        select c.namespace_id, c.chunk_id, v_model.model_id, c.item_id, c.thread_id, c.tags, c.expires_at, c.deleted_at, c.vector
        from current c
        on conflict on constraint embeddings_pk do update
            set vector = excluded.vector, created_at = excluded.created_at
        returning e.namespace_id, e.chunk_id
    ), dequeued as (
        delete from embedding_queue q
        using stored s
        -- "+ 0": by the chunk, as of a model that the statistics do not know all that waits would be gone through for each.
        where q.namespace_id = s.namespace_id and q.chunk_id = s.chunk_id and q.model_id + 0 = v_model.model_id
    )
    select g.namespace_id, g.chunk_id, case when s.chunk_id is null then 'stale' else 'stored' end
    from given g
    left join stored s on s.namespace_id = g.namespace_id and s.chunk_id = g.chunk_id
    order by g.n;
end;
$put_embeddings$;
revoke all on function kompanion.put_embeddings(uuid[], bigint[], integer[], vector[], text) from public;
comment on function kompanion.put_embeddings(uuid[], bigint[], integer[], vector[], text) is
    'Store vectors for chunks as pending_embeddings handed them out; status per chunk: stored, or stale when its text changed since. KM004 for a bad vector, and then none is stored.';

create function kompanion.pending_embeddings(
    model  text     default null,
    batch  integer  default 100,
    worker text     default null,
    lease  interval default null
)
    returns table (namespace text, namespace_id uuid, chunk_id bigint, chunk_revision integer, content text)
    language plpgsql
    volatile
    set search_path from current
as $pending_embeddings$
-- Hands out chunks that need a vector, each to one worker until its lease ends; several workers never get the same.
declare
    v_model integer := (select m.model_id from _model(pending_embeddings.model) m);
    v_until timestamptz;
begin
    if batch is null or batch not between 1 and 10000 then
        raise exception using
            errcode = 'KM007',
            message = format('batch: %s is not between 1 and 10000', coalesce(batch::text, 'NULL')),
            hint    = 'Ask for as many chunks as one call to the embedder takes.';
    elsif lease not between interval '0' and interval '1000 years' then
        raise exception using
            errcode = 'KM007',
            message = format('lease: %s is negative or too long', lease),
            hint    = 'Give the time one batch takes to embed, such as interval ''10 minutes''.';
    end if;
    v_until := clock_timestamp() + coalesce(lease, (setting('embedding_lease') #>> '{}')::interval);
    return query
    with claimed as materialized (
        select q.namespace_id, q.chunk_id, n.path, c.revision, c.content, q.created_at
        from embedding_queue q
        -- "offset 0": the queue leads, in its order; else, before it is analyzed, all that waits was read for each batch.
        cross join lateral (select s.path from live_namespaces s where s.namespace_id = q.namespace_id offset 0) n
        cross join lateral (
            select k.revision, k.content
            from memory_chunks k join memory_items i on i.namespace_id = k.namespace_id and i.item_id = k.item_id
            where k.namespace_id = q.namespace_id and k.chunk_id = q.chunk_id and is_live(i.deleted_at, i.expires_at) offset 0) c
        where q.model_id = v_model and (q.leased_until is null or q.leased_until <= clock_timestamp())
        order by q.created_at, q.chunk_id
        limit batch
        for update of q skip locked
    ), leased as (
        update embedding_queue q
        set leased_until = v_until, worker = pending_embeddings.worker
        from claimed c
        where q.namespace_id = c.namespace_id and q.chunk_id = c.chunk_id and q.model_id + 0 = v_model  -- by the chunk, as in put_embeddings
    )
    select c.path, c.namespace_id, c.chunk_id, c.revision, c.content
    from claimed c
    order by c.created_at, c.chunk_id;
end;
$pending_embeddings$;
revoke all on function kompanion.pending_embeddings(text, integer, text, interval) from public;
comment on function kompanion.pending_embeddings(text, integer, text, interval) is
    'Claim a batch of chunks that need a vector of the model. A claim ends with its lease; put_embeddings takes the chunk off. Safe for many workers at once.';

create function kompanion.embedded_chunks(
    namespaces text[],
    keys       text[],
    model      text default null
)
    returns table (ord integer, content text)
    language plpgsql
    stable
    set search_path from current
as $embedded_chunks$
-- The chunk texts of these items that have a vector already: what a writer need not embed again.
declare
    v_model integer := (select m.model_id from _model(embedded_chunks.model) m);
begin
    return query
    select g.n::integer, c.content
    from unnest(namespaces, keys) with ordinality g (namespace, key, n)
    -- Item by item, whatever the statistics: where they know nothing yet, all were joined with all. "+ 0" as the index of a model
    -- would be gone through for each.
    cross join lateral (
        select i.namespace_id, i.item_id
        from memory_items i join live_namespaces s on s.namespace_id = i.namespace_id
        where i.namespace_id = namespace_id(g.namespace) and i.key = g.key and is_live(i.deleted_at, i.expires_at) offset 0) i
    cross join lateral (
        select c.ordinal, c.content
        from memory_chunks c join embeddings e on e.namespace_id = c.namespace_id and e.chunk_id = c.chunk_id
        where c.namespace_id = i.namespace_id and c.item_id = i.item_id and e.model_id + 0 = v_model offset 0) c
    order by 1, c.ordinal;
end;
$embedded_chunks$;
revoke all on function kompanion.embedded_chunks(text[], text[], text) from public;
comment on function kompanion.embedded_chunks(text[], text[], text) is
    'Of the items named, the chunk texts that have a vector of the model, so that a writer embeds only what is new; ord counts the items from 1.';
