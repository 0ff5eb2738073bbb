-- depends: pg_0006_vectors
-- Row triggers: what must hold even when somebody runs a plain UPDATE. They touch rows of the same namespace only.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._replace_chunks(
    namespace_id     uuid,
    item_id          uuid,
    content_revision integer,
    texts            text[],
    starts           integer[],
    ends             integer[]
)
    returns void
    language plpgsql
    volatile
    set search_path from current
as $_replace_chunks$
-- Makes the chunks of one item exactly these. A chunk whose text stays keeps its id, and so its embeddings:
-- old and new are matched by text, the first occurrence to the first, the second to the second. By a full join, which is never
-- a nested loop: of 20,000 chunks with the same text that would compare each with each. No place is taken twice even inside a
-- statement: what "reindex concurrently" builds for memory_chunks_item_ordinal_uq cannot be deferred, and writers meet it.
begin
    if current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
        perform _check_snapshot(_replace_chunks.namespace_id, _replace_chunks.item_id);
    end if;
    with wanted as materialized (
        select t.content, t.start_offset, t.end_offset, (t.n - 1)::integer as ordinal,
               row_number() over (partition by t.content order by t.n) as nth
        from unnest(_replace_chunks.texts, _replace_chunks.starts, _replace_chunks.ends)
             with ordinality as t (content, start_offset, end_offset, n)
    ), present as materialized (
        select c.chunk_id, c.content, row_number() over (partition by c.content order by c.ordinal) as nth
        from memory_chunks c
        where c.namespace_id = _replace_chunks.namespace_id and c.item_id = _replace_chunks.item_id
    ), matched as materialized (
        select w.*, p.chunk_id from wanted w full join present p on p.content = w.content and p.nth = w.nth
    ), dropped as (
        delete from memory_chunks c using matched m
        where c.namespace_id = _replace_chunks.namespace_id and c.chunk_id = m.chunk_id and m.ordinal is null
    )
    update memory_chunks c  -- those that move, to a place that is free for sure
    set ordinal = m.ordinal + case when c.ordinal = m.ordinal then 0 else 1000000000 end, start_offset = m.start_offset,
        end_offset = m.end_offset, content_revision = _replace_chunks.content_revision
    from matched m
    where c.namespace_id = _replace_chunks.namespace_id and c.chunk_id = m.chunk_id and m.ordinal is not null
      and (c.ordinal, c.start_offset, c.end_offset, c.content_revision) <> (m.ordinal, m.start_offset, m.end_offset, _replace_chunks.content_revision);
    if found then
        update memory_chunks c set ordinal = c.ordinal - 1000000000
        where c.namespace_id = _replace_chunks.namespace_id and c.item_id = _replace_chunks.item_id and c.ordinal >= 1000000000;
    end if;
    insert into memory_chunks (namespace_id, item_id, ordinal, content, start_offset, end_offset, content_revision)
    select _replace_chunks.namespace_id, _replace_chunks.item_id, t.n - 1, t.content, t.s, t.e, _replace_chunks.content_revision
    from unnest(_replace_chunks.texts, _replace_chunks.starts, _replace_chunks.ends) with ordinality as t (content, s, e, n)
    where t.n - 1 not in (select c.ordinal from memory_chunks c where c.namespace_id = _replace_chunks.namespace_id and c.item_id = _replace_chunks.item_id) order by t.n;
end;
$_replace_chunks$;
revoke all on function kompanion._replace_chunks(uuid, uuid, integer, text[], integer[], integer[]) from public;
comment on function kompanion._replace_chunks(uuid, uuid, integer, text[], integer[], integer[]) is
    'Internal. Makes the chunks of an item exactly these; unchanged text keeps its chunk and its embeddings.';

create function kompanion._enqueue_item(
    namespace_id uuid,
    item_id      uuid
)
    returns void
    language plpgsql
    volatile
    set search_path from current
as $_enqueue_item$
-- Queues every chunk of the item for every model in use that has no vector of it.
begin
    insert into embedding_queue (namespace_id, chunk_id, model_id)
    select c.namespace_id, c.chunk_id, m.model_id
    from memory_chunks c
    cross join embedding_models m
    where c.namespace_id = _enqueue_item.namespace_id and c.item_id = _enqueue_item.item_id
      and m.retired_at is null
      and not exists (select 1 from embeddings e
                      where e.namespace_id = c.namespace_id and e.chunk_id = c.chunk_id and e.model_id + 0 = m.model_id)  -- by the chunk
    on conflict do nothing;
end;
$_enqueue_item$;
revoke all on function kompanion._enqueue_item(uuid, uuid) from public;
comment on function kompanion._enqueue_item(uuid, uuid) is
    'Internal. Queues the chunks of an item for the models that have no vector of them.';

create function kompanion._chunk_whole(
    namespace_id     uuid,
    item_id          uuid,
    content_revision integer,
    content          text
)
    returns void
    language plpgsql
    volatile
    set search_path from current
as $_chunk_whole$
-- Content that nobody cut is one chunk, content without a visible character is none. The item has no other chunk,
-- so nothing of it has a vector: the chunk waits for one of each model in use.
begin
    if _is_visible(content) then
        with chunk as (
            insert into memory_chunks as k (namespace_id, item_id, ordinal, content, start_offset, end_offset, content_revision)
            values (_chunk_whole.namespace_id, _chunk_whole.item_id, 0, _chunk_whole.content, 0, length(_chunk_whole.content),
                    _chunk_whole.content_revision)
            returning k.namespace_id, k.chunk_id
        )
        insert into embedding_queue (namespace_id, chunk_id, model_id)
        select c.namespace_id, c.chunk_id, m.model_id
        from chunk c cross join embedding_models m where m.retired_at is null;
    end if;
end;
$_chunk_whole$;
revoke all on function kompanion._chunk_whole(uuid, uuid, integer, text) from public;
comment on function kompanion._chunk_whole(uuid, uuid, integer, text) is
    'Internal. One chunk for the content of an item that has none, queued for the models in use.';

create function kompanion._tg_memory_items__before_update()
    returns trigger
    language plpgsql
    volatile
    set search_path from current
as $_tg_memory_items__before_update$
-- Every change is the next revision, at a later time; an update that changes nothing is no update.
begin
    if (new.namespace_id, new.item_id) <> (old.namespace_id, old.item_id) then
        raise exception using
            errcode = 'KM007',
            message = 'namespace_id, item_id: the identity of an item never changes',
            hint    = 'Write the item under the other name and delete this one.';
    end if;
    if (new.key, new.content, new.metadata, new.tags, new.thread_id, new.user_id, new.created_at, new.expires_at, new.deleted_at)
       is not distinct from
       (old.key, old.content, old.metadata, old.tags, old.thread_id, old.user_id, old.created_at, old.expires_at, old.deleted_at) then
        return null;
    end if;
    new.revision         := old.revision + 1;
    new.content_revision := case when new.content = old.content then old.content_revision else new.revision end;
    new.updated_at       := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
    return new;
end;
$_tg_memory_items__before_update$;
revoke all on function kompanion._tg_memory_items__before_update() from public;
comment on function kompanion._tg_memory_items__before_update() is
    'Internal. Revision and updated_at grow with every change, also under a plain UPDATE.';

create function kompanion._tg_memory_items__after_update()
    returns trigger
    language plpgsql
    volatile
    set search_path from current
as $_tg_memory_items__after_update$
-- Keeps the superseded revision; keeps chunks and vectors in step with the item.
declare v_model integer;
begin
    if current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
        perform _check_snapshot(new.namespace_id, new.item_id);
    end if;
    insert into memory_item_revisions (namespace_id, item_id, revision, key, content, metadata, tags, thread_id, user_id,
                                       actor, updated_at, superseded_at, expires_at, deleted_at)
    values (old.namespace_id, old.item_id, old.revision, old.key, old.content, old.metadata, old.tags, old.thread_id,
            old.user_id, old.actor, old.updated_at, new.updated_at, old.expires_at, old.deleted_at);

    if new.content <> old.content then
        -- upsert_item stores the chunks of the new content before it updates the item; all others are of the old one.
        delete from memory_chunks c
        where c.namespace_id = new.namespace_id and c.item_id = new.item_id and c.content_revision <> new.content_revision;
        if not exists (select 1 from memory_chunks c where c.namespace_id = new.namespace_id and c.item_id = new.item_id) then
            perform _chunk_whole(new.namespace_id, new.item_id, new.content_revision, new.content);
        end if;
    end if;

    if (new.thread_id, new.tags, new.expires_at, new.deleted_at)
       is distinct from (old.thread_id, old.tags, old.expires_at, old.deleted_at) then
        for v_model in select m.model_id from embedding_models m loop  -- one by one, for all of embeddings_scope_ix to be used
            update embeddings e set thread_id = new.thread_id, tags = new.tags, expires_at = new.expires_at, deleted_at = new.deleted_at
            where e.namespace_id = new.namespace_id and e.item_id = new.item_id and e.model_id = v_model;
        end loop;
    end if;
    return null;
end;
$_tg_memory_items__after_update$;
revoke all on function kompanion._tg_memory_items__after_update() from public;
comment on function kompanion._tg_memory_items__after_update() is
    'Internal. Keeps history, and chunks and vectors in step with the item, also under a plain UPDATE.';

create function kompanion._tg_memory_chunks__update()
    returns trigger
    language plpgsql
    volatile
    set search_path from current
as $_tg_memory_chunks__update$
-- A chunk with another text is another revision; the vectors of the former text go.
begin
    if tg_when = 'BEFORE' then
        new.revision := old.revision + 1;
        return new;
    end if;
    delete from embeddings e where e.namespace_id = new.namespace_id and e.chunk_id = new.chunk_id;
    -- A worker may hold the former text: what it brings is stale, so the chunk is free for another at once.
    delete from embedding_queue q where q.namespace_id = new.namespace_id and q.chunk_id = new.chunk_id;
    -- This chunk alone: an update of all chunks of an item would queue each of them for each.
    insert into embedding_queue (namespace_id, chunk_id, model_id)
    select new.namespace_id, new.chunk_id, m.model_id from embedding_models m where m.retired_at is null
    on conflict do nothing;
    return null;
end;
$_tg_memory_chunks__update$;
revoke all on function kompanion._tg_memory_chunks__update() from public;
comment on function kompanion._tg_memory_chunks__update() is
    'Internal. A changed chunk never keeps an old vector, also under a plain UPDATE.';

create function kompanion._tg__refuse()
    returns trigger
    language plpgsql
    volatile
    set search_path from current
as $_tg__refuse$
-- The triggers that call this say when, and what of it: SQLSTATE, message and hint.
begin
    raise exception using errcode = tg_argv[0], message = tg_argv[1], hint = tg_argv[2];
end;
$_tg__refuse$;
revoke all on function kompanion._tg__refuse() from public;
comment on function kompanion._tg__refuse() is 'Internal. Refuses what its trigger watches for.';

create trigger memory_items_100_before_update before update on kompanion.memory_items
    for each row execute function kompanion._tg_memory_items__before_update();
create trigger memory_items_900_after_update after update on kompanion.memory_items
    for each row execute function kompanion._tg_memory_items__after_update();
create trigger memory_chunks_050_identity before update of namespace_id, item_id, chunk_id on kompanion.memory_chunks
    for each row when (old.namespace_id <> new.namespace_id or old.item_id <> new.item_id or old.chunk_id <> new.chunk_id)
    execute function kompanion._tg__refuse('KM007', 'namespace_id, item_id, chunk_id: the identity of a chunk never changes',
                                           'Write the chunks of the other item with put_chunks or upsert_item.');
create trigger memory_item_revisions_050_by_hand before insert on kompanion.memory_item_revisions
    for each row when (not (has_table_privilege('kompanion.memory_item_revisions', 'delete') or kompanion._was_superseded(new.namespace_id, new.item_id, new.revision, new.superseded_at)))
    execute function kompanion._tg__refuse('42501', 'memory_item_revisions: history is written by changing items, not by hand',
                                           'Call upsert_item, or import_documents as kompanion_admin.');
create trigger memory_chunks_100_before_update before update of content on kompanion.memory_chunks
    for each row when (old.content is distinct from new.content)
    execute function kompanion._tg_memory_chunks__update();
create trigger memory_chunks_900_after_update after update of content on kompanion.memory_chunks
    for each row when (old.content is distinct from new.content)
    execute function kompanion._tg_memory_chunks__update();
comment on trigger memory_items_100_before_update on kompanion.memory_items is 'Revision and updated_at grow.';
comment on trigger memory_items_900_after_update on kompanion.memory_items is 'History is kept; chunks and vectors stay in step.';
comment on trigger memory_chunks_050_identity on kompanion.memory_chunks is 'Vectors carry the item of their chunk, so it stays the same.';
comment on trigger memory_item_revisions_050_by_hand on kompanion.memory_item_revisions is 'History is evidence: writers add to it by changing items alone.';
comment on trigger memory_chunks_100_before_update on kompanion.memory_chunks is 'The revision of a chunk grows with its text.';
comment on trigger memory_chunks_900_after_update on kompanion.memory_chunks is 'Vectors of a former text go.';
