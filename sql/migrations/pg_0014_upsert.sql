-- depends: pg_0013_embeddings
-- Writing one item: insert, revise or leave unchanged, with its chunks and vectors, in one call.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._lock_item(
    namespace_id      uuid,
    namespace         text,
    key               text,
    expected_revision integer,
    out item_id  uuid,
    out revision integer,
    out content  text,
    out is_live  boolean
)
    language plpgsql
    volatile
    set search_path from current
as $_lock_item$
-- Locks an item against other writers and checks that it is where the caller expects it. NULLs when there is none.
-- Expecting 0 means "no live item of that name"; a deleted or expired one also answers to its own revision.
begin
    select i.item_id, i.revision, i.content, is_live(i.deleted_at, i.expires_at)
    into _lock_item.item_id, _lock_item.revision, _lock_item.content, _lock_item.is_live
    from memory_items i
    where i.namespace_id = _lock_item.namespace_id and i.key = _lock_item.key
    for no key update;

    if expected_revision < 0 then
        raise exception using
            errcode = 'KM007',
            message = format('expected_revision: %s is negative', expected_revision),
            hint    = 'Give the revision you read, or 0 for an item that must not exist yet.';
    elsif expected_revision is null
       or expected_revision = coalesce(_lock_item.revision, 0)
       or expected_revision = 0 and not _lock_item.is_live then
        return;
    end if;
    raise exception using
        errcode = 'KM001',
        message = format('expected_revision: %L in %L is at revision %s, not %s', left(key, 200), namespace,
                         coalesce(_lock_item.revision, 0), expected_revision),
        detail  = case when _lock_item.revision is null then 'There is no such item.'
                  when _lock_item.is_live then format('Current: %s. Expected: %s.', _lock_item.revision, expected_revision)
                  else 'It is deleted or expired.' end,
        hint    = 'Somebody else wrote in between: read the item again and decide anew.';
end;
$_lock_item$;
revoke all on function kompanion._lock_item(uuid, text, text, integer) from public;
comment on function kompanion._lock_item(uuid, text, text, integer) is
    'Internal. Locks an item and checks expected_revision; KM001 when it is at another one.';

create function kompanion._put_item_vectors(
    namespace_id uuid,
    item_id      uuid,
    vectors      vector[],
    model_id     integer
)
    returns void
    language plpgsql
    volatile
    set search_path from current
as $_put_item_vectors$
-- Stores the vectors of an item the caller has locked, in the order of its chunks; NULL keeps what a chunk has.
declare
    v_chunks integer;
begin
    insert into embeddings as e (namespace_id, chunk_id, model_id, item_id, thread_id, tags, expires_at, deleted_at, vector)
    select c.namespace_id, c.chunk_id, _put_item_vectors.model_id, c.item_id, i.thread_id, i.tags, i.expires_at, i.deleted_at, v.vector
    from unnest(vectors) with ordinality as v (vector, n)
    join memory_chunks c on c.namespace_id = _put_item_vectors.namespace_id and c.item_id = _put_item_vectors.item_id
                        and c.ordinal = v.n - 1
    join memory_items i on i.namespace_id = c.namespace_id and i.item_id = c.item_id
    where v.vector is not null
    on conflict on constraint embeddings_pk do update
        set vector = excluded.vector, created_at = excluded.created_at
        where e.vector <> excluded.vector;
    select count(*) into v_chunks
    from memory_chunks c
    where c.namespace_id = _put_item_vectors.namespace_id and c.item_id = _put_item_vectors.item_id;
    if v_chunks <> cardinality(vectors) then
        raise exception using
            errcode = 'KM007',
            message = format('vectors: %s vectors for %s chunks', cardinality(vectors), v_chunks),
            hint    = 'Give one vector for each chunk, in their order; content without chunks given is one chunk.';
    end if;
    -- "+ 0": by the chunk, as of a model that the statistics do not know all that waits would be gone through.
    delete from embedding_queue q
    where q.namespace_id = _put_item_vectors.namespace_id and q.model_id + 0 = _put_item_vectors.model_id
      and q.chunk_id = any (array(select c.chunk_id from memory_chunks c
                                  where c.namespace_id = _put_item_vectors.namespace_id and c.item_id = _put_item_vectors.item_id
                                    and vectors[c.ordinal + 1] is not null));
end;
$_put_item_vectors$;
revoke all on function kompanion._put_item_vectors(uuid, uuid, vector[], integer) from public;
comment on function kompanion._put_item_vectors(uuid, uuid, vector[], integer) is
    'Internal. The vectors of an item in the order of its chunks, NULL to keep; KM007 when their numbers differ.';

create function kompanion.upsert_item(
    namespace         text,
    key               text,
    content           text,
    metadata          jsonb       default '{}',
    tags              text[]      default '{}',
    thread            text        default null,
    user_key          text        default null,
    expires_at        timestamptz default null,
    ttl               interval    default null,
    expected_revision integer     default null,
    actor             text        default null,
    created_at        timestamptz default null,
    chunks            text[]      default null,
    chunk_starts      integer[]   default null,
    chunk_ends        integer[]   default null,
    vectors           vector[]    default null,
    model             text        default null
)
    returns table (item_id uuid, revision integer, status text)
    language plpgsql
    volatile
    set search_path from current
    set plan_cache_mode = force_generic_plan  -- by the whole key, also in a namespace that the statistics do not know
as $upsert_item$
-- Makes the item of that name exactly this: inserted, revised, or unchanged and then no new revision.
-- A new name is inserted at once; of one that exists the row is locked first, so its writers queue and revisions have no gaps.
-- What is plainly in order is not handed to the functions that check it: half of the time would go there.
declare
    v_namespace_id uuid := ensure_namespace(namespace);
    v_item_id      uuid := gen_random_uuid();
    v_key          text := coalesce(key, v_item_id::text);
    v_tags         text[] := case when tags = '{}' or (array_dims(tags) = '[1:1]' and length(tags[1]) between 1 and 128) then tags
                             else _normalize_tags(tags) end;
    v_expires_at   timestamptz := case when expires_at is not null or ttl is not null then _expiry(expires_at, ttl) end;
    v_whole        boolean := coalesce(cardinality(chunks), 0) = 0 and vectors is null;
    v_thread_id    uuid;
    v_user_id      uuid;
    v_model        record;
    v_model_id     integer;
    v_texts        text[] := chunks;
    v_starts       integer[] := chunk_starts;
    v_ends         integer[] := chunk_ends;
    v_rechunk      boolean := false;
    v_fresh        boolean := coalesce(expected_revision, 0) = 0;
    v_item         record;
begin
    if v_key = '' or length(v_key) > 512 or content is null or octet_length(content) > 16777216
       or jsonb_typeof(metadata) <> 'object' or pg_column_size(metadata) > 200 or created_at is not null then
        perform _check_name('key', v_key);
        perform _check_content(content);
        perform _check_metadata(metadata);
        perform _check_moment('created_at', created_at);
    end if;
    if cardinality(chunks) > 0 then
        perform _check_chunks(content, chunks, chunk_starts, chunk_ends);
    elsif v_whole or _is_visible(content) then
        v_texts := array[content]; v_starts := array[0]; v_ends := array[length(content)];
    end if;
    if vectors is not null then
        select * into v_model from _model(model);
        perform _check_vector(format('vectors[%s]', v.n), v.vector, v_model.dim, v_model.metric, v_model.model_id)
        from unnest(vectors) with ordinality v (vector, n) where v.vector is not null;
        v_model_id := v_model.model_id;
        if array_lower(vectors, 1) <> 1 or array_ndims(vectors) <> 1 then
            vectors := array(select unnest(vectors));
        end if;
    end if;
    v_thread_id := case when thread is not null then _thread_id(v_namespace_id, thread) end;
    v_user_id := case when user_key is not null then _user_id(v_namespace_id, user_key) end;
    for round in 1 .. 10 loop
        if v_fresh then  -- item, chunks, vectors, and what has none queued for the models in use
            with item as (
                insert into memory_items as i (namespace_id, item_id, key, content, metadata, tags, thread_id, user_id, actor, created_at, expires_at)
                values (v_namespace_id, v_item_id, v_key, upsert_item.content, coalesce(upsert_item.metadata, '{}'), v_tags, v_thread_id,
                        v_user_id, upsert_item.actor, coalesce(upsert_item.created_at, clock_timestamp()), v_expires_at)
                on conflict on constraint memory_items_namespace_key_uq do nothing
                returning i.item_id, i.revision, i.thread_id, i.tags, i.expires_at
            ), chunk as (
                insert into memory_chunks as k (namespace_id, item_id, ordinal, content, start_offset, end_offset, content_revision)
                select v_namespace_id, i.item_id, t.n - 1, t.content, t.s, t.e, 1
                from item i cross join unnest(v_texts, v_starts, v_ends) with ordinality t (content, s, e, n)
                where not v_whole or _is_visible(upsert_item.content)
                returning k.chunk_id, k.ordinal
            ), vector as (
                insert into embeddings (namespace_id, chunk_id, model_id, item_id, thread_id, tags, expires_at, vector)
                select v_namespace_id, k.chunk_id, v_model_id, i.item_id, i.thread_id, i.tags, i.expires_at, vectors[k.ordinal + 1]
                from item i cross join chunk k where vectors[k.ordinal + 1] is not null
            ), queued as (
                insert into embedding_queue (namespace_id, chunk_id, model_id)
                select v_namespace_id, k.chunk_id, m.model_id from chunk k cross join embedding_models m
                where m.retired_at is null and (m.model_id is distinct from v_model_id or vectors[k.ordinal + 1] is null)
            )
            select i.item_id, i.revision, 'inserted' into item_id, revision, status from item i;
        end if;
        exit when status is not null;

        -- The name is taken, or expected to be: lock what has it.
        if expected_revision is null then
            select i.item_id, i.revision, i.content into v_item
            from memory_items i where i.namespace_id = v_namespace_id and i.key = v_key for no key update;
        else
            select * into v_item from _lock_item(v_namespace_id, namespace, v_key, expected_revision);
        end if;
        if v_item.item_id is not null then
            v_rechunk := not v_whole or v_item.content <> upsert_item.content and exists (
                select 1 from memory_chunks c
                where c.namespace_id = v_namespace_id and c.item_id = v_item.item_id and c.content = upsert_item.content);
            if v_rechunk then  -- else a new content, whole and of no known text, is cut by the trigger
                perform _replace_chunks(v_namespace_id, v_item.item_id,
                    case when v_item.content = upsert_item.content
                         then (select i.content_revision from memory_items i
                               where i.namespace_id = v_namespace_id and i.item_id = v_item.item_id)
                         else v_item.revision + 1 end, coalesce(v_texts, '{}'), v_starts, v_ends);
            end if;
            update memory_items i
            set content = upsert_item.content, metadata = coalesce(upsert_item.metadata, '{}'), tags = v_tags,
                thread_id = v_thread_id, user_id = v_user_id, actor = upsert_item.actor,
                expires_at = v_expires_at, deleted_at = null
            where i.namespace_id = v_namespace_id and i.item_id = v_item.item_id
            returning i.item_id, i.revision, 'revised' into item_id, revision, status;
            if not found then
                item_id := v_item.item_id; revision := v_item.revision; status := 'unchanged';
            end if;
            exit;
        end if;
        v_fresh := true;  -- purged in this moment, which does not happen ten times
    end loop;
    if status is null then
        raise exception using
            errcode = '42501', message = format('key: %L in %L is taken by an item hidden from this role, or refused by a trigger', left(v_key, 200), namespace),
            hint    = 'Use another key, or ask who made the policies and triggers of memory_items.';
    end if;

    -- Of an item just inserted they are stored; when their number is wrong, this says so.
    if status <> 'inserted' and vectors is not null or cardinality(vectors) <> coalesce(cardinality(v_texts), 0) then
        perform _put_item_vectors(v_namespace_id, item_id, vectors, v_model_id);
    end if;
    if v_rechunk then
        perform _enqueue_item(v_namespace_id, item_id);
    end if;
    return next;
end;
$upsert_item$;
revoke all on function kompanion.upsert_item(text, text, text, jsonb, text[], text, text, timestamptz, interval, integer, text,
    timestamptz, text[], integer[], integer[], vector[], text) from public;
comment on function kompanion.upsert_item(text, text, text, jsonb, text[], text, text, timestamptz, interval, integer, text,
    timestamptz, text[], integer[], integer[], vector[], text) is
    'Write an item whole; status inserted, revised or unchanged. A NULL key becomes the item_id. expected_revision 0 means there must be no live item of that key; KM001 when it is stale. Content not cut into chunks is one chunk; vectors, one a chunk, may come along; NULL keeps the one a chunk of unchanged text has.';
