-- depends: pg_0011_models
-- Switching models online: the backlog, the default, and retirement.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion.enqueue_missing(
    model text default null
)
    returns bigint
    language plpgsql
    volatile
    set search_path from current
as $enqueue_missing$
-- Queues every chunk that has no vector of the model. Writing functions queue what they write; this finds what
-- was written around them, or by a transaction that ran while the model was being registered. What a writer replaces just now is
-- passed over: the chunk that takes its place is queued by the writer, or found by the next call.
declare
    v_model integer := (select m.model_id from _model(enqueue_missing.model) m);
    v_count bigint;
begin
    insert into embedding_queue (namespace_id, chunk_id, model_id)
    select c.namespace_id, c.chunk_id, v_model
    from memory_chunks c
    where not exists (select 1 from embeddings e
                      where e.namespace_id = c.namespace_id and e.chunk_id = c.chunk_id and e.model_id = v_model)
      -- Not left to the conflict: that waits for who takes a chunk off the queue just now, who may wait for a chunk locked here.
      and not exists (select 1 from embedding_queue q
                      where q.namespace_id = c.namespace_id and q.chunk_id = c.chunk_id and q.model_id = v_model)
    for key share of c skip locked
    on conflict do nothing;
    get diagnostics v_count = row_count;
    return v_count;
end;
$enqueue_missing$;
revoke all on function kompanion.enqueue_missing(text) from public;
comment on function kompanion.enqueue_missing(text) is
    'Queue every chunk that has no vector of the model; returns how many were added. Repairs the queue after rows were written by hand.';

create function kompanion.release_embeddings(
    namespace_ids uuid[],
    chunk_ids     bigint[],
    model         text default null,
    worker        text default null
)
    returns bigint
    language plpgsql
    volatile
    set search_path from current
    set plan_cache_mode = force_generic_plan  -- by the whole key, also in a namespace that the statistics do not know
as $release_embeddings$
-- Gives back what a worker has claimed and cannot embed, for the next to claim. What another transaction is just at is passed over.
declare
    v_model integer := (select m.model_id from _model(release_embeddings.model) m);
    v_count bigint;
begin
    if cardinality(namespace_ids) is distinct from cardinality(chunk_ids) then
        raise exception using
            errcode = 'KM007', message = 'namespace_ids, chunk_ids: differ in length',
            hint    = 'Give one of each for every chunk, as pending_embeddings returned them.';
    end if;
    with held as materialized (
        select q.namespace_id, q.chunk_id
        from embedding_queue q
        join unnest(namespace_ids, chunk_ids) g (namespace_id, chunk_id) on g.namespace_id = q.namespace_id and g.chunk_id = q.chunk_id
        where q.model_id + 0 = v_model and q.leased_until is not null and q.worker is not distinct from release_embeddings.worker
        for update of q skip locked
    )
    update embedding_queue q
    set leased_until = null, worker = null
    from held h
    where q.namespace_id = h.namespace_id and q.chunk_id = h.chunk_id and q.model_id + 0 = v_model;
    get diagnostics v_count = row_count;
    return v_count;
end;
$release_embeddings$;
revoke all on function kompanion.release_embeddings(uuid[], bigint[], text, text) from public;
comment on function kompanion.release_embeddings(uuid[], bigint[], text, text) is
    'End the claims of a worker on chunks that pending_embeddings handed out, before their lease does; returns how many were ended.';

create function kompanion._make_default(
    model_id integer
)
    returns boolean
    language plpgsql
    volatile
    set search_path from current
as $_make_default$
-- Of a model in use; who calls has locked the table and found none. A snapshot from before the lock does not show another's.
begin
    update embedding_models m set is_default = true where m.model_id = _make_default.model_id and m.retired_at is null;
    return found;
exception when unique_violation then
    raise exception using
        errcode = 'serialization_failure', message = 'model: another session has chosen a default since this transaction began',
        hint    = 'Try the transaction again.';
end;
$_make_default$;
revoke all on function kompanion._make_default(integer) from public;
comment on function kompanion._make_default(integer) is
    'Internal. Makes a model the default where there is none; false for one that is retired, 40001 when the snapshot is older than another default.';

create function kompanion.set_default_model(
    name             text,
    require_complete boolean default true
)
    returns text
    language plpgsql
    volatile
    set search_path from current
as $set_default_model$
-- Switches the model that is meant when none is named. A model that still lacks vectors would give short answers,
-- so it is refused until its backfill is done.
declare
    v_model   integer;
    v_former  text;
    v_missing bigint := 0;
begin
    lock table embedding_models in share update exclusive mode;  -- one switch at a time; readers, and who measures, go on
    select m.model_id into v_model from _model(coalesce(set_default_model.name, '')) m;
    if require_complete then
        perform _needs_all('set_default_model');
        select count(*) into v_missing
        from live_chunks c
        where not exists (select 1 from embeddings e
                          where e.namespace_id = c.namespace_id and e.chunk_id = c.chunk_id and e.model_id = v_model);
    end if;
    if v_missing > 0 then
        raise exception using
            errcode = 'KM012',
            message = format('model %L still lacks the vectors of %s live chunks', name, v_missing),
            hint    = 'Embed what pending_embeddings(model) hands out first; when it hands out nothing, enqueue_missing(model) queues them. Or call set_default_model with require_complete false.';
    end if;
    update embedding_models m set is_default = false where m.is_default and m.model_id <> v_model
    returning m.name into v_former;
    if not _make_default(v_model) then
        perform _model(name);  -- retired in this moment
    end if;
    return v_former;
end;
$set_default_model$;
revoke all on function kompanion.set_default_model(text, boolean) from public;
comment on function kompanion.set_default_model(text, boolean) is
    'Switch the default model; returns the former one, so the same call switches back. KM012 while live chunks lack its vectors.';

create function kompanion.retire_model(
    name           text,
    delete_vectors boolean default false
)
    returns bigint
    language plpgsql
    volatile
    set search_path from current
as $retire_model$
-- Takes a model out of use: no more searched nor embedded for. Its vectors stay until asked away; registering it again revives it.
-- No key changes, so writers, whose foreign keys look at the row, need not wait. What one of them still queues or stores for
-- the model meanwhile is of use when it is revived, and goes with the next call of this.
declare
    v_model   integer;
    v_default boolean;
    v_deleted bigint := 0;
begin
    lock table embedding_models in row exclusive mode;  -- before the row, as set_default_model does: else two may wait for each other
    select m.model_id, m.is_default into v_model, v_default from embedding_models m where m.name = retire_model.name for no key update;
    if not found then
        perform _model(coalesce(retire_model.name, ''));
    elsif v_default then
        raise exception using
            errcode = 'KM012',
            message = format('model %L is the default', name),
            hint    = 'Switch to another one first: set_default_model(name).';
    end if;
    if delete_vectors then
        perform _needs_all('retire_model');  -- it would leave those it does not see, and tell nobody
    end if;
    update embedding_models m set retired_at = now() where m.model_id = v_model and m.retired_at is null;
    -- What a writer has in hand is passed over: in whatever order it deletes, neither waits for the other.
    delete from embedding_queue q using (
        select w.namespace_id, w.chunk_id from embedding_queue w where w.model_id = v_model for update skip locked) w
    where q.namespace_id = w.namespace_id and q.chunk_id = w.chunk_id and q.model_id + 0 = v_model;  -- by the chunk
    if delete_vectors then
        delete from embeddings e using (
            select w.namespace_id, w.chunk_id from embeddings w where w.model_id = v_model for update skip locked) w
        where e.namespace_id = w.namespace_id and e.chunk_id = w.chunk_id and e.model_id + 0 = v_model;
        get diagnostics v_deleted = row_count;
    end if;
    return v_deleted;
end;
$retire_model$;
revoke all on function kompanion.retire_model(text, boolean) from public;
comment on function kompanion.retire_model(text, boolean) is
    'Take a model out of use; delete_vectors => true also removes its vectors. Returns how many were removed. KM012 for the default model.';

create function kompanion.list_models()
    returns table (model text, dim integer, metric text, is_default boolean, index_kind text, index_lists integer,
                   index_rows bigint, queued bigint, created_at timestamptz, retired_at timestamptz)
    language plpgsql
    stable
    set search_path from current
as $list_models$
-- Every model, in the order they were registered, with how many chunks wait for it.
begin
    return query
    select m.name, m.dim, m.metric, m.is_default, coalesce(x.kind, 'none'), x.lists, m.index_rows,
           (select count(*) from embedding_queue q where q.model_id = m.model_id), m.created_at, m.retired_at
    from embedding_models m
    cross join lateral _vector_index(m.model_id) x
    order by m.model_id;
end;
$list_models$;
revoke all on function kompanion.list_models() from public;
comment on function kompanion.list_models() is 'The models: dimension, metric, default, index, and how many chunks wait for a vector.';
