-- depends: pg_0010_users_threads
-- Embedding models: registered, switched online, retired. Several live side by side.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._model(
    name text,
    out model_id integer,
    out model    text,
    out dim      integer,
    out metric   text
)
    language plpgsql
    stable
    set search_path from current
as $_model$
-- The model of a name that is in use; without a name, the default one.
begin
    select m.model_id, m.name, m.dim, m.metric
    into _model.model_id, model, dim, metric
    from embedding_models m
    where m.retired_at is null and case when _model.name is null then m.is_default else m.name = _model.name end;
    if not found then
        raise exception using
            errcode = 'KM005',
            message = case when _model.name is null then 'model: none is named and none is the default'
                      else format('model: %L is not registered, or retired', left(_model.name, 200)) end,
            detail  = (select 'Models in use: ' || coalesce(string_agg(m.name, ', ' order by m.name), 'none') || '.'
                       from embedding_models m where m.retired_at is null),
            hint    = 'Register it: register_model(name, dim), or choose a default: set_default_model(name).';
    end if;
end;
$_model$;
revoke all on function kompanion._model(text) from public;
comment on function kompanion._model(text) is 'Internal. A model in use by name, the default one for NULL; KM005 when there is none.';

create function kompanion._check_queries(
    queries vector[],
    dim     integer,
    metric  text
)
    returns void
    language plpgsql
    immutable
    set search_path from current
as $_check_queries$
-- Refuses queries of the caller's own that are no vectors of the model, or none at all.
begin
    if cardinality(queries) = 0 then
        raise exception using errcode = 'KM007', message = 'queries: are none', hint = 'Leave queries out, and stored vectors are asked with.';
    end if;
    perform _check_vector(format('queries[%s]', q.n), q.vector, dim, metric) from unnest(queries) with ordinality q (vector, n);
end;
$_check_queries$;
revoke all on function kompanion._check_queries(vector[], integer, text) from public;
comment on function kompanion._check_queries(vector[], integer, text) is 'Internal. KM004 for a query that is no vector of the model, KM007 for none.';

create function kompanion._needs_all(
    what text
)
    returns void
    language plpgsql
    stable
    set search_path from current
as $_needs_all$
-- Models are everybody's: what is decided about one must not go by the rows that row security leaves to one role.
begin
    if row_security_active('kompanion.memory_chunks') or row_security_active('kompanion.memory_items') or row_security_active('kompanion.embeddings') then
        raise exception using
            errcode = 'insufficient_privilege', message = format('%s: row security hides rows from this role, and all roles share the models', what),
            hint    = 'Call it as the owner of the tables, or as a role with BYPASSRLS.';
    end if;
end;
$_needs_all$;
revoke all on function kompanion._needs_all(text) from public;
comment on function kompanion._needs_all(text) is 'Internal. 42501 where row security holds for the role that calls.';

create function kompanion.register_model(
    name         text,
    dim          integer,
    metric       text    default 'cosine',
    make_default boolean default false
)
    returns table (model_id integer, model text, is_default boolean, queued bigint)
    language plpgsql
    volatile
    set search_path from current
as $register_model$
-- Makes a model known and queues every chunk for it. The first model becomes the default; the same call again changes nothing.
declare
    v_id     integer;
    v_same   boolean;
    v_fresh  boolean;
    v_queued bigint := 0;
begin
    perform _check_name('name', name);
    if dim is null or dim not between 1 and 16000 then
        raise exception using
            errcode = 'KM007',
            message = format('dim: %s is not between 1 and 16000', coalesce(dim::text, 'NULL')),
            hint    = 'Give the number of elements of the model''s vectors.';
    elsif metric is null or metric not in ('cosine', 'l2', 'inner_product') then
        raise exception using
            errcode = 'KM007',
            message = format('metric: %s is unknown', coalesce(quote_literal(metric), 'NULL')),
            hint    = 'Use cosine, l2 or inner_product.';
    end if;
    -- Most calls change nothing, and wait for nobody: calibrate and tune_index hold the row for minutes.
    return query
    select m.model_id, m.name, m.is_default, 0::bigint from embedding_models m
    where m.name = register_model.name and m.dim = register_model.dim and m.metric = register_model.metric and m.retired_at is null
      and (m.is_default or make_default is not true and exists (select 1 from embedding_models d where d.is_default));
    if found then
        return;
    end if;
    -- One registration at a time, so that two first models do not both become the default; readers go on.
    lock table embedding_models in share update exclusive mode;  -- not for calibrate and tune_index, which hold a row of it, to wait for

    insert into embedding_models as m (name, dim, metric)
    values (register_model.name, register_model.dim, register_model.metric)
    on conflict on constraint embedding_models_name_uq do nothing
    returning m.model_id into v_id;
    v_fresh := found;

    select m.model_id, m.dim = register_model.dim and m.metric = register_model.metric, v_fresh or m.retired_at is not null
    into v_id, v_same, v_fresh
    from embedding_models m
    where m.name = register_model.name
    for no key update;  -- writers, whose foreign keys look at the row, need not wait
    if not v_same then
        raise exception using
            errcode = 'KM012',
            message = format('model %L is registered with another dimension or metric', name),
            detail  = (select format('Registered: dim %s, metric %s.', m.dim, m.metric) from embedding_models m where m.model_id = v_id),
            hint    = 'Give the new one a name of its own, such as a version; both live side by side.';
    end if;
    if v_fresh then
        perform _needs_all('register_model');
        update embedding_models m set retired_at = null where m.model_id = v_id;
        v_queued := enqueue_missing(name);
    end if;
    if make_default or not exists (select 1 from embedding_models m where m.is_default) then
        -- The first default may be chosen before its vectors are there; a switch must not shorten answers.
        perform set_default_model(name, require_complete => exists (select 1 from embedding_models m where m.is_default));
    end if;
    return query
    select m.model_id, m.name, m.is_default, v_queued from embedding_models m where m.model_id = v_id;
end;
$register_model$;
revoke all on function kompanion.register_model(text, integer, text, boolean) from public;
comment on function kompanion.register_model(text, integer, text, boolean) is
    'Make an embedding model known, queue all chunks for it; the first one becomes the default. Repeating it changes nothing; KM012 when dim or metric differ.';

create function kompanion._vector_index(
    model_id  integer,
    suffix    text default '',
    out name  text,
    out kind  text,
    out lists integer,
    out half  boolean,
    out valid boolean,
    out rows  bigint,
    out index jsonb
)
    language plpgsql
    stable
    set search_path from current
as $_vector_index$
-- The vector index of a model as the catalog has it; NULLs when there is none. A build that broke off leaves an invalid one.
begin
    select c.relname, a.amname, coalesce(substring(c.reloptions::text from 'lists=([0-9]+)')::integer, case a.amname when 'ivfflat' then 100 end),  -- pgvector's default
           o.opcname like 'halfvec%', x.indisvalid, greatest(c.reltuples, 0)::bigint
    into name, kind, lists, half, valid, rows
    from pg_class c
    join pg_index x on x.indexrelid = c.oid
    join pg_am a on a.oid = c.relam
    join pg_opclass o on o.oid = x.indclass[0]
    where c.oid = to_regclass('kompanion.embeddings_ann_' || model_id || suffix);
    index := jsonb_build_object('oid', to_regclass('kompanion.' || quote_ident(name))::oid::bigint, 'name', name, 'kind', kind, 'lists', lists, 'half', half,
                                'iterative', _vector_version() >= 8);
end;
$_vector_index$;
revoke all on function kompanion._vector_index(integer, text) from public;
comment on function kompanion._vector_index(integer, text) is 'Internal. The vector index of a model, or with suffix _new or _old one beside it: name, kind, lists, half precision or not, valid or not, rows by its statistics; index: all of that which a calibration holds for.';

create function kompanion._hold_models(
    model_id integer default null
)
    returns void
    language plpgsql
    volatile
    set search_path from current
as $_hold_models$
-- Keeps others from measuring this model or all, or building its index, until the transaction ends; at once, or not at all: who
-- has measured for minutes must be able to write down what was found. Writers of vectors go on.
begin
    perform from embedding_models m where _hold_models.model_id is null or m.model_id = _hold_models.model_id for no key update nowait;
exception when lock_not_available then
    raise exception using
        errcode = 'lock_not_available',
        message = format('model: another session is measuring or changing %s just now', case when model_id is null then 'a model'
                         else (select quote_literal(m.name) from embedding_models m where m.model_id = _hold_models.model_id) end),
        hint    = 'Call again when its calibrate, tune_index or ensure_index has ended; pg_stat_activity shows it.';
when read_only_sql_transaction then
    raise exception using
        errcode = 'read_only_sql_transaction', message = 'what is measured or built is written down, and this transaction is read-only',
        hint    = 'Call it on the primary, in a transaction that may write.';
end;
$_hold_models$;
revoke all on function kompanion._hold_models(integer) from public;
comment on function kompanion._hold_models(integer) is 'Internal. Keeps others from measuring a model or building its index; 55P03 when another session does.';

create function kompanion._index_definition(
    kind   text,
    lists  integer,
    dim    integer,
    metric text,
    half   boolean
)
    returns text
    language plpgsql
    stable
    set search_path from current
as $_index_definition$
-- What follows "on <table>" when a vector index is created, spelled so that it means the same on any search_path.
declare
    v_type   constant text := case when half then 'halfvec' else 'vector' end;
    v_schema constant text := (select quote_ident(n.nspname) from pg_extension x join pg_namespace n on n.oid = x.extnamespace
                               where x.extname = 'vector');
begin
    return format('using %1$s ((vector::%2$s.%3$s(%4$s)) %2$s.%3$s_%5$s_ops)%6$s', quote_ident(kind), v_schema, v_type, dim,
                  case metric when 'cosine' then 'cosine' when 'l2' then 'l2' else 'ip' end,
                  case when kind = 'ivfflat' then format(' with (lists = %s)', lists) end);
end;
$_index_definition$;
revoke all on function kompanion._index_definition(text, integer, integer, text, boolean) from public;
comment on function kompanion._index_definition(text, integer, integer, text, boolean) is 'Internal. How a vector index is spelled.';
