-- depends: pg_0022_search
-- Vector indexes: decided from row counts, built outside migrations, watched for drift.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion.index_statements(
    model        text    default null,
    kind         text    default null,
    lists        integer default null,
    concurrently boolean default true
)
    returns table (step integer, statement text, reason text)
    language plpgsql
    stable
    set search_path from current
as $index_statements$
-- The statements that give a model the vector index it should have; none when it has it. Under psql: \gexec runs them.
-- The new index is built beside the old one, which serves until it is dropped; leftovers of builds that broke off go first.
declare
    v_model   record;
    v_current record;
    v_rows    bigint;
    v_built   bigint;
    v_vector  text := (select quote_ident(n.nspname) from pg_extension x join pg_namespace n on n.oid = x.extnamespace
                       where x.extname = 'vector');
    v_name    text;
    v_how     text := case when index_statements.concurrently then 'concurrently ' else '' end;
    v_kind    text := index_statements.kind;
    v_lists   integer := index_statements.lists;
    v_reason  text;
begin
    select * into v_model from _model(index_statements.model);
    select * into v_current from _vector_index(v_model.model_id);
    v_name := 'embeddings_ann_' || v_model.model_id;
    select count(*) into v_rows from embeddings e where e.model_id = v_model.model_id;
    select m.index_rows into v_built from embedding_models m where m.model_id = v_model.model_id;
    if v_kind is not null and v_kind not in ('none', 'ivfflat', 'hnsw') or v_lists not between 1 and 32768 then
        raise exception using
            errcode = 'KM007',
            message = format('kind, lists: %s with %s lists cannot be built', v_kind, coalesce(v_lists::text, 'default')),
            hint    = 'kind is none, ivfflat or hnsw; lists is 1 to 32768.';
    end if;

    if v_model.dim > 2000 then
        v_kind := 'none'; v_reason := 'pgvector indexes at most 2000 dimensions; search is exact';
    elsif v_kind is null and v_current.valid then
        v_kind := v_current.kind; v_reason := format('%s rows, built from %s', v_rows, coalesce(v_built, 0));
    elsif v_kind is null and v_rows < setting('index_min_rows')::bigint then
        v_kind := 'none'; v_reason := format('%s rows are searched exactly faster than by an index', v_rows);
    elsif v_kind is null then
        v_kind := 'ivfflat'; v_reason := format('%s rows', v_rows);
    else
        v_reason := 'asked for';
    end if;
    if v_kind = 'ivfflat' then
        -- The square root at every size: pgvector's README has rows / 1000 below a million, which is coarser and costs more
        -- for the same recall (on 10,000 real passages 32 lists gave 0.946 at 31 % of the rows visited, 100 lists at 20 %).
        v_lists := coalesce(v_lists, greatest(10, round(sqrt(v_rows)))::integer);
    else
        v_lists := null;
    end if;

    -- All is well: the kind and lists that were asked for, and, as ivfflat learns its lists from the rows there are, few more rows.
    if v_current.valid and v_current.kind = v_kind
       and (v_kind = 'hnsw' or coalesce(index_statements.lists, v_current.lists) = v_current.lists and v_rows < 2 * coalesce(v_built, 0))
       or v_current.name is null and v_kind = 'none' then
        return;
    end if;
    return query
    select row_number() over (order by s.n)::integer, s.statement, s.reason
    from (values
        (1, format('drop index %sif exists kompanion.%I', v_how, v_name || '_new'),
            case when to_regclass(format('kompanion.%I', v_name || '_new')) is not null then 'a build broke off' end),
        (2, format('create index %s%I on kompanion.embeddings using %s ((vector::%s.vector(%s)) %s.%s)%s where model_id = %s',
                   v_how, v_name || '_new', v_kind, v_vector, v_model.dim, v_vector,
                   case v_model.metric when 'cosine' then 'vector_cosine_ops' when 'l2' then 'vector_l2_ops' else 'vector_ip_ops' end,
                   case when v_kind = 'ivfflat' then format(' with (lists = %s)', v_lists) else '' end, v_model.model_id),
            case when v_kind <> 'none' then v_reason end),
        (3, format('drop index %sif exists kompanion.%I', v_how, v_name),
            case when v_current.name is not null then case when v_current.valid then 'the new one takes its place' else 'it is invalid' end end),
        (4, format('alter index kompanion.%I rename to %I', v_name || '_new', v_name), case when v_kind <> 'none' then 'takes its place' end),
        (5, format('select kompanion.record_index(%L, %s)', v_model.model, v_rows), 'rows at build, to see drift later')
    ) s (n, statement, reason)
    where s.reason is not null;
end;
$index_statements$;
revoke all on function kompanion.index_statements(text, text, integer, boolean) from public;
comment on function kompanion.index_statements(text, text, integer, boolean) is
    'The statements that give a model the vector index it should have, to be run one by one outside a transaction: select statement from kompanion.index_statements(''m'') \gexec. kind: none, ivfflat, hnsw; by default from the number of rows.';

create function kompanion.record_index(
    model      text,
    index_rows bigint
)
    returns void
    language plpgsql
    volatile
    set search_path from current
as $record_index$
-- Remembers how many rows an index was built from.
declare
    v_model integer := (select m.model_id from _model(record_index.model) m);
begin
    update embedding_models m
    set index_rows = record_index.index_rows, indexed_at = now()
    where m.model_id = v_model;
end;
$record_index$;
revoke all on function kompanion.record_index(text, bigint) from public;
comment on function kompanion.record_index(text, bigint) is
    'Remember how many rows the vector index of a model was built from; the last of index_statements calls it.';

create function kompanion.ensure_index(
    model text    default null,
    kind  text    default null,
    lists integer default null
)
    returns table (step integer, statement text, reason text)
    language plpgsql
    volatile
    set search_path from current
as $ensure_index$
-- Gives a model the vector index it should have, in this transaction, and returns what was run; nothing when all is well.
-- Writers of embeddings wait meanwhile. Where they may not, run index_statements one by one instead.
declare
    r record;
begin
    for r in select * from index_statements(ensure_index.model, ensure_index.kind, ensure_index.lists, false) loop
        execute r.statement;
        step := r.step; statement := r.statement; reason := r.reason;
        return next;
    end loop;
end;
$ensure_index$;
revoke all on function kompanion.ensure_index(text, text, integer) from public;
comment on function kompanion.ensure_index(text, text, integer) is
    'Give a model the vector index it should have, in one transaction, blocking writers of embeddings; returns what was run. Run it as the owner of the tables; index_statements does it concurrently.';

create function kompanion.index_advice(
    model text default null
)
    returns table (model_name text, advice text, statement text)
    language plpgsql
    stable
    set search_path from current
as $index_advice$
-- What would make searches of a model, or of all models, better or safer, each with the statement to run.
declare
    r      record;
    v_rows bigint;
    v_need bigint;
begin
    if index_advice.model is not null then
        perform _model(index_advice.model);
    end if;
    for r in
        select m.*, x.name as index_name, x.kind, x.lists, x.valid
        from embedding_models m cross join lateral _vector_index(m.model_id) x
        where index_advice.model is null or m.name = index_advice.model
        order by m.model_id
    loop
        select count(*) into v_rows from embeddings e where e.model_id = r.model_id;
        v_need := v_rows * (4 * r.dim + 8) / 1024;
        return query
        select r.name, a.advice, a.statement
        from (values
            (1, r.retired_at is not null and v_rows > 0, format('the model is retired, its %s vectors take up room', v_rows),
                format('select kompanion.retire_model(%L, delete_vectors => true)', r.name)),
            (2, r.retired_at is not null and r.index_name is not null, 'the model is retired, its index is of no use',
                format('drop index concurrently kompanion.%I', coalesce(r.index_name, ''))),
            (3, r.retired_at is null and not r.valid, 'the index is INVALID: a build broke off; searches go exact meanwhile',
                format('select statement from kompanion.index_statements(%L) \gexec', r.name)),
            (4, r.retired_at is null and r.index_name is null and r.dim <= 2000 and v_rows >= setting('index_min_rows')::bigint,
                format('%s rows and no vector index: large scopes are searched exactly', v_rows),
                format('select statement from kompanion.index_statements(%L) \gexec', r.name)),
            (5, r.retired_at is null and r.valid and r.kind = 'ivfflat' and v_rows >= 2 * coalesce(r.index_rows, 0),
                format('the index learned its lists from %s rows, there are %s now: recall falls', coalesce(r.index_rows, 0), v_rows),
                format('select statement from kompanion.index_statements(%L) \gexec', r.name)),
            (6, r.retired_at is null and r.dim > 2000, format('%s dimensions are more than pgvector can index: search is exact', r.dim),
                null),
            (7, r.retired_at is null and v_rows >= setting('index_min_rows')::bigint
                and v_need > (select s.setting::bigint from pg_settings s where s.name = 'maintenance_work_mem'),
                format('building the index in memory needs about %s MB', v_need / 1024 + 1),
                format('set maintenance_work_mem = %L', v_need / 1024 + 1 || 'MB'))
        ) a (n, applies, advice, statement)
        where a.applies
        order by a.n;
    end loop;
end;
$index_advice$;
revoke all on function kompanion.index_advice(text) from public;
comment on function kompanion.index_advice(text) is
    'What would make searches better, each with the statement to run: missing, invalid or outgrown index, retired vectors, too little memory to build. No row: all is well.';
