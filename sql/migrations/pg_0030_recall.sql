-- depends: pg_0029_calibrate
-- measure_recall and index_advice: what users get now, what would make it better, and what building an index takes.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion.measure_recall(
    model         text             default null,
    scope         text             default '*',
    sample        integer          default 100,
    k             integer          default 10,
    target_recall double precision default null,
    queries       vector[]         default null
)
    returns table (asked integer, recall double precision, low double precision, high double precision, milliseconds double precision,
                   by_index integer)
    language plpgsql
    volatile
    set search_path from current
    set jit = off
as $measure_recall$
-- Searches a scope as users do, with stored vectors of it as queries, every other one mixed with another, and exactly, and compares:
-- the mean share of the true k nearest items that is found, with its 95 % interval after Wilson, each query counted as one trial:
-- wider than need be, never narrower. Median time of a search; by_index: how many went by the index, and no further.
declare
    c_z      constant double precision := 1.96;
    v_plan   _search_plan;
    v_run    record;
    v_ids    uuid[];
    v_start  timestamptz;
    v_found  double precision[]; v_true double precision[];
    v_sum    double precision := 0; v_times double precision[] := '{}';
    r        record;
begin
    if measure_recall.sample is null or measure_recall.sample not between 1 and 100000 then
        raise exception using
            errcode = 'KM007', message = format('sample: %s is not between 1 and 100000', coalesce(measure_recall.sample::text, 'NULL')),
            hint    = 'A hundred queries tell recall to within a few hundredths.';
    elsif k is null or k not between 1 and 1000 then
        raise exception using
            errcode = 'KM007', message = format('k: %s is not between 1 and 1000', coalesce(k::text, 'NULL')),
            hint    = 'Recall is measured at the k that users ask for, usually 10.';
    elsif target_recall not between 0.01 and 1 then
        raise exception using
            errcode = 'KM007', message = format('target_recall: %s is not between 0.01 and 1', target_recall),
            hint    = 'Give the share of the true nearest that searches aim at; without it, the setting target_recall.';
    end if;
    perform _check_queries(queries, m.dim, m.metric) from _model(measure_recall.model) m;
    v_ids := _scope_ids(scope);
    asked := 0; by_index := 0;
    for r in
        select s.query, s.chunk_id from _model(measure_recall.model) m
        cross join lateral _sample_queries(m.model_id, measure_recall.sample, v_ids) s
        where measure_recall.queries is null
        union all
        select q.vector, -1 from unnest(measure_recall.queries) q (vector)
    loop
        v_start := clock_timestamp();
        v_plan := _plan_search(scope, r.query, measure_recall.model, k, null, null, null, null, null, target_recall);
        v_plan.k := k + 1;  -- the query itself is among them; the path is that of k
        if (select count(distinct h.item_id) from unnest(v_plan.nearest) h) <= k and cardinality(v_plan.nearest) >= 2 * k then
            v_plan.nearest := null;  -- for k this was known to be too few or enough; for one more it would pass for all there are
        end if;
        v_run := _run_search(v_plan, r.query, false);
        v_found := array(select h.distance from unnest(v_run.hits) h where h.chunk_id <> r.chunk_id limit k);
        v_times := v_times || extract(epoch from clock_timestamp() - v_start)::double precision * 1000;
        v_true := array(select h.distance from unnest((_run_search(_plan_search(scope, r.query, measure_recall.model, k + 1, null, null, null, null, null, 1),
                                                                   r.query, false)).hits) h where h.chunk_id <> r.chunk_id limit k);
        asked := asked + 1;
        by_index := by_index + (v_plan.path = 'index' and not v_run.topped_up)::integer;
        -- By distance: of vectors equally near, as duplicates are, one is as right as the other.
        v_sum := v_sum + coalesce(least(1, (select count(*) from unnest(v_found) f (distance) where f.distance <= v_true[cardinality(v_true)])
                                           / nullif(cardinality(v_true), 0)::double precision), 1);
    end loop;
    if asked > 0 then
        recall := v_sum / asked;
        low := greatest(0, (recall + c_z ^ 2 / (2 * asked) - c_z * sqrt(recall * (1 - recall) / asked + c_z ^ 2 / (4 * asked ^ 2))) / (1 + c_z ^ 2 / asked));
        high := least(1, (recall + c_z ^ 2 / (2 * asked) + c_z * sqrt(recall * (1 - recall) / asked + c_z ^ 2 / (4 * asked ^ 2))) / (1 + c_z ^ 2 / asked));
        low := least(low, recall); high := greatest(high, recall);  -- at the ends rounding would leave it outside
        milliseconds := (select percentile_cont(0.5) within group (order by t) from unnest(v_times) t);
    end if;
    return next;
end;
$measure_recall$;
revoke all on function kompanion.measure_recall(text, text, integer, integer, double precision, vector[]) from public;
comment on function kompanion.measure_recall(text, text, integer, integer, double precision, vector[]) is
    'What users get now: recall@k of searches of a scope against exact ones, in items as search gives them, with a 95 % interval and the median time. Asks with stored vectors of the scope, every other one mixed with another, or with queries of your own.';

create function kompanion._build_memory_kb(
    kind  text,
    rows  bigint,
    lists integer,
    dim   integer,
    half  boolean
)
    returns bigint
    language plpgsql
    immutable
    set search_path from current
as $_build_memory_kb$
-- maintenance_work_mem that building an index needs. ivfflat refuses to start with less than its k-means takes: room for 50
-- rows a list, three arrays of centres, and, for Elkan's bounds, sample x lists and lists x lists floats (pgvector, ivfkmeans.c).
-- hnsw goes on, many times slower, once the graph does not fit: vector, and 2 x m neighbours of 16 bytes each with m = 16.
declare
    v_room   double precision := greatest(50.0 * lists, 10000);  -- also where there are fewer rows
    v_sample double precision := least(v_room, rows);
    v_size   double precision := case when half then 2 else 4 end * dim + 8;
begin
    return case kind when 'hnsw' then rows * (v_size + 700) / 1024
           else ((v_room + 2 * lists) * v_size + 4.0 * lists * (dim + 2) + 4 * v_sample * lists + 4.0 * lists * lists) / 1024 end::bigint;
end;
$_build_memory_kb$;
revoke all on function kompanion._build_memory_kb(text, bigint, integer, integer, boolean) from public;
comment on function kompanion._build_memory_kb(text, bigint, integer, integer, boolean) is 'Internal. Memory that building a vector index needs, in kB.';

create function kompanion._hnsw_seconds(
    plan kompanion._search_plan,
    rows bigint
)
    returns double precision
    language plpgsql
    volatile
    set search_path from current
as $_hnsw_seconds$
-- About how long an hnsw index over so many rows takes to build: a trial over 2,000 of them, taken to grow as n log n, half
-- as much again for what the trial finds in cache, and twice that where the graph does not fit into maintenance_work_mem.
declare
    v_start timestamptz;
begin
    create unlogged table kompanion.tuning_trial as select c.vector from kompanion.tuning_copy c limit 2000;  -- a temporary one takes a privilege
    v_start := clock_timestamp();
    execute 'create index on kompanion.tuning_trial ' || _index_definition('hnsw', null, plan.dim, plan.metric, plan.half);
    drop table kompanion.tuning_trial;
    return extract(epoch from clock_timestamp() - v_start) * rows / 2000.0 * ln(greatest(rows, 2)) / ln(2000)
         * case when _build_memory_kb('hnsw', rows, 0, plan.dim, plan.half) > (select s.setting::bigint from pg_settings s where s.name = 'maintenance_work_mem') then 3 else 1.5 end;
end;
$_hnsw_seconds$;
revoke all on function kompanion._hnsw_seconds(kompanion._search_plan, bigint) from public;
comment on function kompanion._hnsw_seconds(kompanion._search_plan, bigint) is 'Internal. About how long an hnsw index would take to build.';

create function kompanion.index_advice(
    model text default null
)
    returns table (model_name text, advice text, statement text)
    language plpgsql
    stable
    set search_path from current
as $index_advice$
-- What would make searches of a model, or of all models, better or safer, each with the statement to run. Filters on metadata
-- are of no model, and told last.
declare
    r        record;
    v_rows   bigint; v_later bigint; v_need bigint;
    v_again  text; v_build text;
    v_new    regclass; v_unwanted boolean;
    v_vector text := (select x.extversion from pg_extension x where x.extname = 'vector'); v_dead record;
begin
    if index_advice.model is not null then
        perform _model(index_advice.model);
    end if;
    -- After a crash the statistics count from nothing; what VACUUM last saw is kept.
    select s.n_dead_tup as dead, coalesce(nullif(s.n_live_tup, 0), c.reltuples) as live into v_dead
    from pg_stat_user_tables s join pg_class c on c.oid = s.relid where c.oid = 'kompanion.embeddings'::regclass;
    for r in
        select m.*, x.name as index_name, x.kind, x.lists, x.half, x.valid, x.index,
               (select s.idx_scan from pg_stat_user_indexes s where s.indexrelid = to_regclass('kompanion.' || quote_ident(x.name))) as scans
        from embedding_models m cross join lateral _vector_index(m.model_id) x
        where index_advice.model is null or m.name = index_advice.model
        order by m.model_id
    loop
        select count(*), count(*) filter (where e.chunk_id > r.index_chunk) into v_rows, v_later from embeddings e where e.model_id = r.model_id;
        v_build := format(E'select statement from kompanion.index_statements(%L) \\gexec', r.name);
        v_new := to_regclass(format('kompanion.embeddings_ann_%s_new', r.model_id));
        v_need := null; v_unwanted := r.index_name is null and r.index_rows is not distinct from 0 and v_later * 2 <= v_rows;
        v_again := case when r.calibration ->> 'queries_digest' is not null or (r.index_choice ->> 'own_queries')::boolean then '; queries of your own were asked: give them again, as queries' else '' end;
        if r.retired_at is null then
            select _build_memory_kb(substring(s.statement from 'using ([a-z]+)'), v_rows, substring(s.statement from 'lists = ([0-9]+)')::integer, r.dim,
                                   s.statement like '%.halfvec(%')
            into v_need from index_statements(r.name) s where s.statement like 'create index%';
        end if;
        if v_rows > 0 and v_dead.dead > 1000 and v_dead.dead > 0.2 * v_dead.live then
            return query select r.name, format('%s of %s rows of embeddings are dead: searches pass over them', v_dead.dead, v_dead.dead + v_dead.live),
                                'vacuum (analyze) kompanion.embeddings;';
            v_dead.dead := 0;  -- once is enough
        end if;
        return query
        select r.name, a.advice, a.statement || case when a.statement like '%gexec' then '' else ';' end
        from (values
            (1, r.retired_at is not null and v_rows > 0, format('the model is retired, its %s vectors take up room', v_rows),
                format('select kompanion.retire_model(%L, delete_vectors => true)', r.name)),
            (2, r.retired_at is not null and r.index_name is not null, 'the model is retired, its index is of no use',
                format('drop index concurrently kompanion.%I', coalesce(r.index_name, ''))),
            (3, r.retired_at is null and not r.valid, 'the index is INVALID: a build broke off; searches go exact meanwhile', v_build),
            (3, to_regclass(format('kompanion.embeddings_ann_%s_old', r.model_id)) is not null,
                'an index that was replaced was not dropped: writers keep it up, and searches may be exact meanwhile',
                format('drop index concurrently if exists kompanion.embeddings_ann_%s_old', r.model_id)),
            (3, v_new is not null and not _being_built(v_new),
                'a build broke off and left an index: writers keep it up, and searches may be exact meanwhile', format('drop index concurrently if exists kompanion.embeddings_ann_%s_new', r.model_id)),
            -- One that was dropped as (12) advises is not asked for again before there are twice the rows; one that is lost is.
            (4, r.retired_at is null and r.index_name is null and v_rows >= setting('index_min_rows')::bigint and not v_unwanted
                and (r.dim <= 2000 or r.dim <= 4000 and _vector_version() >= 7),
                format('%s rows and no vector index: large scopes are searched exactly', v_rows), v_build),
            (5, r.retired_at is null and r.valid and r.kind = 'ivfflat' and (v_rows >= greatest(1, 2 * coalesce(r.index_rows, 0)) or v_later * 2 > v_rows or v_rows between setting('index_min_rows')::bigint and r.index_rows / 4),
                format('the index learned its lists from %s rows, there are %s now, %s of them later: recall falls, or searches take long',
                       coalesce(r.index_rows, 0), v_rows, v_later), v_build),
            (5, r.retired_at is null and r.valid and r.index_choice is null and v_rows >= setting('index_min_rows')::bigint
                and r.lists not between sqrt(v_rows) / 8 and sqrt(v_rows) * 8, format('%s lists for %s rows: searches take long so far from the square root, %s', r.lists, v_rows, round(sqrt(v_rows))),
                format(E'select statement from kompanion.index_statements(%L, lists => %s) \\gexec', r.name, round(sqrt(v_rows)))),
            (6, r.retired_at is null and v_rows > 0 and r.dim > 2000 and (r.dim > 4000 or _vector_version() < 7),
                case when r.dim > 4000 then format('%s dimensions are more than pgvector can index: search is exact', r.dim)
                else format('%s dimensions are indexed in half precision, which needs pgvector 0.7 (here: %s): search is exact', r.dim, v_vector) end,
                case when r.dim <= 4000 and (select x.default_version <> v_vector from pg_available_extensions x where x.name = 'vector') then 'alter extension vector update' end),
            (7, r.retired_at is null and v_rows >= setting('index_min_rows')::bigint
                and v_need > (select s.setting::bigint from pg_settings s where s.name = 'maintenance_work_mem'),
                format('building the index needs about %s MB of memory', v_need / 1024 + 1),
                format('set maintenance_work_mem = %L', v_need / 1024 + 1 || 'MB')),
            (8, r.retired_at is null and r.valid and (v_rows >= setting('index_min_rows')::bigint or r.index_choice is not null) and r.calibration is null and v_rows > 1,
                'the index was never calibrated: searches use safe, slow defaults' || v_again, format('select * from kompanion.calibrate(%L)', r.name)),
            (9, r.retired_at is null and r.valid and v_rows > 1 and (r.calibration -> 'index') - 'iterative' <> r.index - 'iterative',
                'the calibration is that of another index: searches use safe, slow defaults' || v_again, format('select * from kompanion.calibrate(%L)', r.name)),
            (10, r.retired_at is null and r.valid and v_rows > 1 and (r.calibration ->> 'queries')::integer
                < case when r.calibration ->> 'complete' = 'false' then 400 else least(100, v_rows) end,
                format('the calibration stopped after %s queries: too few to be sure of a target', r.calibration ->> 'queries') || v_again, format('select * from kompanion.calibrate(%L)', r.name)),
            (11, r.retired_at is null and r.valid and v_rows > 1
                and (r.calibration ->> 'pgvector' <> v_vector or v_rows not between (r.calibration ->> 'rows')::bigint / 2 and (r.calibration ->> 'rows')::bigint * 2),
                format('the calibration is of %s rows with pgvector %s; now %s rows with %s', r.calibration ->> 'rows', r.calibration ->> 'pgvector', v_rows, v_vector) || v_again,
                format('select * from kompanion.calibrate(%L)', r.name)),
            -- Calibrating uses it last, and remembers how often it had been used then; after a crash or a restore that is not known.
            (12, r.retired_at is null and r.valid and r.scans = (r.calibration ->> 'scans')::bigint
                and (r.calibration ->> 'finished_at')::timestamptz < now() - interval '7 days' and not exists (select 1 from pg_stat_replication),
                'no search on this server has used the index for a week or more: scopes are small enough to be searched exactly',
                format(E'select statement from kompanion.index_statements(%L, kind => ''none'') \\gexec', r.name)),
            (13, r.retired_at is null and r.index_choice ->> 'kind' is not null
                and (r.index_name is null and not v_unwanted or r.indexed_at < (r.index_choice ->> 'tuned_at')::timestamptz)
                and exists (select 1 from index_statements(r.name)),
                format('tune_index found %s %s best; it is not built yet', r.index_choice ->> 'kind', coalesce(r.index_choice ->> 'lists', '')), v_build)
        ) a (n, applies, advice, statement)
        where a.applies
        order by case a.n when 7 then 0 else a.n end;  -- memory is set before what needs it
    end loop;
    return query
    select null::text, format('the index of metadata key %L is INVALID: a build broke off; filters do not use it, and writers keep it up', k.key),
           format(E'select kompanion.index_metadata_key(%L, %L, concurrently => true) \\gexec', k.key, k.value)
    from jsonb_each_text(setting('indexed_metadata')) k
    join pg_index x on x.indexrelid = to_regclass(format('kompanion.%I', _metadata_index(k.key, k.value)))
    where not x.indisvalid
      and not _being_built(x.indexrelid);
end;
$index_advice$;
revoke all on function kompanion.index_advice(text) from public;
comment on function kompanion.index_advice(text) is
    'What would make searches better, each with the statement to run: missing, invalid, outgrown or unused index, missing or outdated calibration, dead rows, retired vectors, too little memory to build. No row: all is well.';
