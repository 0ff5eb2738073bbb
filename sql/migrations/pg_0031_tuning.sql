-- depends: pg_0030_recall
-- tune_index: candidate indexes are built and measured on a copy, and the best is remembered.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._build_candidate(
    plan kompanion._search_plan
)
    returns double precision
    language plpgsql
    volatile
    set search_path from current
    set client_min_messages = warning
as $_build_candidate$
-- Builds the index of the plan's kind and lists on the copy; the seconds it took, NULL where that takes more memory
-- than there may be. (pgvector says how much, but only as far as it had counted.)
declare
    v_start timestamptz := clock_timestamp();
begin
    drop index if exists kompanion.tuning_copy_ix;
    execute 'create index tuning_copy_ix on kompanion.tuning_copy '
        || _index_definition(plan.index_kind, plan.lists, plan.dim, plan.metric, plan.half);
    return extract(epoch from clock_timestamp() - v_start);
exception when program_limit_exceeded then
    return null;
end;
$_build_candidate$;
revoke all on function kompanion._build_candidate(kompanion._search_plan) from public;
comment on function kompanion._build_candidate(kompanion._search_plan) is 'Internal. Builds a candidate index on the copy that tune_index works on.';

create function kompanion._measure_candidate(
    plan          kompanion._search_plan,
    queries       vector[],
    but_for       bigint[],
    furthest      double precision[],
    counts        integer[],
    part          integer,
    out knob         integer,
    out recall       double precision,
    out milliseconds double precision,
    out yardstick    double precision
)
    language plpgsql
    volatile
    set search_path from current
as $_measure_candidate$
-- The smallest probes or ef_search with which the candidate reaches the target, its recall and median time. NULL when none
-- does. The ladder is climbed until the target is reached, then the last step is halved while it can be. Candidates cannot be
-- asked in turn, as their indexes do not stand side by side: the median time of a work that is always the same, done between
-- the queries, tells how fast the machine was meanwhile.
declare
    v_ladder integer[] := _knob_ladder(plan.index_kind, plan.lists);
    v_below  integer := case plan.index_kind when 'hnsw' then plan.k - 1 else 0 end;  -- an ef_search below k is k
    v_step   integer := 1;
    v_times  double precision[];
    v_yards  double precision[];
    v_sum    double precision;
    v_start  timestamptz;
    s        record;
    r        record;
begin
    loop
        plan.knob := case when knob is null then v_ladder[v_step] else (v_below + knob) / 2 end;
        exit when plan.knob is null or knob - v_below <= greatest(1, knob / 16);
        s := _index_settings(plan, plan.k);
        s.settings := _apply_settings(s.names, s.settings);
        v_times := '{}'; v_yards := '{}'; v_sum := 0;
        for n in 1 .. cardinality(queries) loop
            select t.recall, t.milliseconds into r
            from _try_knob(plan, queries[n], but_for[n], part, furthest[n], counts[n], 'kompanion.tuning_copy') t;
            v_sum := v_sum + r.recall;
            v_times := v_times || r.milliseconds;
            v_start := clock_timestamp();
            execute 'select min(s.d) from (select c.vector <=> $1 as d from kompanion.tuning_copy c where c.ctid < ''(100,0)'' limit 100) s' using queries[n];
            v_yards := v_yards || (extract(epoch from clock_timestamp() - v_start) * 1000)::double precision;
        end loop;
        perform _apply_settings(s.names, s.settings);
        if v_sum / cardinality(queries) >= plan.target_recall then
            knob := plan.knob;
            recall := v_sum / cardinality(queries);
            milliseconds := (select percentile_cont(0.5) within group (order by t) from unnest(v_times) t);
            yardstick := (select percentile_cont(0.5) within group (order by t) from unnest(v_yards) t);
        else
            v_below := plan.knob;
            v_step := v_step + 1;
        end if;
    end loop;
end;
$_measure_candidate$;
revoke all on function kompanion._measure_candidate(kompanion._search_plan, vector[], bigint[], double precision[], integer[], integer) from public;
comment on function kompanion._measure_candidate(kompanion._search_plan, vector[], bigint[], double precision[], integer[], integer) is
    'Internal. The smallest knob with which a candidate index reaches the target, its recall and time, and the time of a fixed work meanwhile.';

create function kompanion._make_tuning_copy(
    model_id integer
)
    returns bigint
    language plpgsql
    volatile
    set search_path from current
    set client_min_messages = warning
as $_make_tuning_copy$
-- Copies the live vectors of a model into a table that no other session ever sees: it is dropped before the transaction ends.
begin
    drop table if exists kompanion.tuning_copy;
    create unlogged table kompanion.tuning_copy (like kompanion.embeddings) with (toast_tuple_target = 8160);
    insert into kompanion.tuning_copy (namespace_id, chunk_id, model_id, item_id, thread_id, tags, expires_at, deleted_at, dim, vector, created_at)
    select e.namespace_id, e.chunk_id, e.model_id, e.item_id, e.thread_id, e.tags, e.expires_at, e.deleted_at, e.dim, e.vector, e.created_at
    from embeddings e where e.model_id = _make_tuning_copy.model_id and is_live(e.deleted_at, e.expires_at);
    analyze kompanion.tuning_copy;
    return (select count(*) from kompanion.tuning_copy);
end;
$_make_tuning_copy$;
revoke all on function kompanion._make_tuning_copy(integer) from public;
comment on function kompanion._make_tuning_copy(integer) is 'Internal. The copy that tune_index works on; returns its rows.';

create function kompanion.tune_index(
    model         text             default null,
    target_recall double precision default null,
    seconds       double precision default 300,
    kinds         text[]           default '{ivfflat,hnsw}',
    share         double precision default 1,
    sample        integer          default 400,
    queries       vector[]         default null
)
    returns table (kind text, lists integer, knob integer, recall double precision, milliseconds double precision,
                   build_seconds double precision, chosen boolean)
    language plpgsql
    volatile
    set search_path from current
    set jit = off
as $tune_index$
-- Builds candidate indexes on a copy of the vectors, so that writers and searches go on: ivfflat with lists around the square
-- root of the rows, on towards the better side while that pays, then hnsw. Each is asked with the smallest knob that reaches
-- the target where matches have the given share; the one with the lowest median time is remembered, and index_statements
-- builds it. Changes nothing else. A candidate that would not be built in the seconds left, or takes more than
-- maintenance_work_mem, is left out, and a notice says so.
declare
    p         _search_plan := _calibration_plan(model);
    v_end     timestamptz;
    v_part    integer;
    v_rows    bigint;
    v_queries vector[]; v_own bigint[];
    v_furthest double precision[] := '{}';
    v_counts  integer[] := '{}';
    v_times   double precision;
    v_found   jsonb := '[]'; v_best jsonb; v_former jsonb;
    v_hurried boolean := false;
    v_need    double precision; v_built double precision;  -- seconds, as these: of a list, and of measuring the last candidate
    v_seconds double precision := 0; v_asking double precision := 0;
    v_start   timestamptz := clock_timestamp();
    v_mb      bigint; v_yard double precision;
    r         record;
begin
    p.target_recall := coalesce(tune_index.target_recall, setting('target_recall')::double precision);
    if p.target_recall not between 0.01 and 0.999 or coalesce(share not between 0.001 and 1, true)
       or coalesce(seconds not between 0.001 and 1000000, true) or coalesce(sample not between 10 and 10000, true) then
        raise exception using
            errcode = 'KM007', message = format('target_recall, seconds, share, sample: %s, %s, %s and %s cannot be', p.target_recall,
                coalesce(seconds::text, 'NULL'), coalesce(share::text, 'NULL'), coalesce(sample::text, 'NULL')),
            hint = 'target_recall is 0.01 to 0.999, seconds above 0, share 0.001 to 1, sample 10 to 10000.';
    elsif kinds is null or not kinds <@ array['ivfflat', 'hnsw'] or kinds = '{}' then
        raise exception using errcode = 'KM007', message = format('kinds: %s cannot be', coalesce(kinds::text, 'NULL')), hint = 'Give ivfflat, hnsw or both.';
    elsif p.dim > 4000 or p.dim > 2000 and _vector_version() < 7 then
        raise exception using errcode = 'KM007', message = format('model: %s dimensions cannot be indexed here', p.dim),
            hint = 'pgvector 0.7 and later indexes up to 4000 dimensions, in half precision; search is exact.';
    end if;
    perform _check_queries(queries, p.dim, p.metric);
    v_end := _time_limit(seconds);
    perform _hold_models();  -- of all: two at once would measure each other, and the copy has one name
    p.half := p.dim > 2000 or coalesce(p.half, false);  -- as the index is
    v_rows := _make_tuning_copy(p.model_id);
    if v_rows < 1000 then
        drop table kompanion.tuning_copy;
        raise notice 'tune_index: % vectors are searched exactly faster than by any index', v_rows;
        return;
    end if;
    p.rows := v_rows;
    p.iterative := nullif(_vector_version() >= 8, false);  -- as searches will run, whatever index there is now
    v_part := greatest(round(1024 * share), ceil(10 * 1024.0 / v_rows));  -- ten to find
    if queries is not null then
        v_queries := queries; v_own := array_fill(-1::bigint, array[cardinality(queries)]);
    else
        select array_agg(s.query), array_agg(s.chunk_id) into v_queries, v_own from _sample_queries(p.model_id, sample, null, false) s;
    end if;
    for n in 1 .. cardinality(v_queries) by 8 loop  -- so many share a scan, as those of calibrate
        select v_furthest || t.furthest, v_counts || t.counts into v_furthest, v_counts
        from _true_nearest(p, v_queries[n : n + 7], v_own[n : n + 7], array[v_part], 'kompanion.tuning_copy') t;
        exit when n > 90 and clock_timestamp() > v_start + (v_end - v_start) / 4;  -- a hundred have to do then
    end loop;
    v_queries := v_queries[:cardinality(v_counts)]; v_own := v_own[:cardinality(v_counts)];

    -- Lists as multiples of sqrt(rows); 8 and a quarter only when the candidate beside them was best. NULL is hnsw.
    foreach v_times in array case when 'ivfflat' = any (kinds) then array[1, 2, 4, 0.5, 8, 0.25] else '{}' end
                             || case when 'hnsw' = any (kinds) then array[null::double precision] else '{}' end loop
        p.index_kind := case when v_times is null then 'hnsw' else 'ivfflat' end;
        p.lists := case when v_times is not null then least(32768, round(sqrt(v_rows) * v_times)) end;
        continue when v_times = 8 and (v_best ->> 'lists')::integer is distinct from round(sqrt(v_rows) * 4)::integer
                   or v_times = 0.25 and (v_best ->> 'lists')::integer is distinct from round(sqrt(v_rows) * 0.5)::integer;
        -- hnsw from a small trial, as n log n; ivfflat in proportion to the lists, from the one built before.
        v_need := case when p.index_kind = 'hnsw' then _hnsw_seconds(p, v_rows) else v_seconds * p.lists end + v_asking;
        if clock_timestamp() + make_interval(secs => v_need) > v_end then
            raise notice 'tune_index: % left out, building and measuring it would take about % s; give more seconds', concat_ws(' ', p.index_kind, p.lists), ceil(v_need);
            v_hurried := true; continue;
        end if;
        v_built := _build_candidate(p);
        if v_built is null then
            v_need := _build_memory_kb(p.index_kind, v_rows, p.lists, p.dim, p.half) / 1024 + 1;
            v_mb := least(v_mb, v_need);
            raise notice 'tune_index: % left out, building it takes about % MB of maintenance_work_mem', concat_ws(' ', p.index_kind, p.lists), v_need;
            continue;
        end if;
        v_seconds := v_built / p.lists;
        v_start := clock_timestamp();
        select * into r from _measure_candidate(p, v_queries, v_own, v_furthest, v_counts, v_part) c;
        v_asking := extract(epoch from clock_timestamp() - v_start);
        v_yard := coalesce(v_yard, r.yardstick);
        r.milliseconds := r.milliseconds * v_yard / r.yardstick;  -- as fast as the machine was for the first
        raise notice 'tune_index: % %, built in % s', concat_ws(' ', p.index_kind, p.lists),
            case when r.knob is null then format('does not reach %s', p.target_recall)
            else format('reaches %s with %s in %s ms', round(r.recall::numeric, 3), r.knob, round(r.milliseconds::numeric, 2)) end, round(v_built::numeric, 1);
        v_found := v_found || jsonb_build_object('kind', p.index_kind, 'lists', p.lists, 'knob', r.knob, 'recall', r.recall,
                                                 'milliseconds', r.milliseconds, 'build_seconds', v_built);
        v_best := (select f from jsonb_array_elements(v_found) f where f ->> 'knob' is not null order by (f ->> 'milliseconds')::double precision limit 1);
    end loop;
    drop table kompanion.tuning_copy;
    select m.index_choice into v_former from embedding_models m
    where m.model_id = p.model_id and m.index_choice ->> 'target_recall' = p.target_recall::text and m.index_choice ->> 'share' = tune_index.share::text;
    if v_found = '[]' and v_mb is not null then
        raise exception using errcode = 'program_limit_exceeded',
            message = format('maintenance_work_mem: %s is too little to build any candidate', current_setting('maintenance_work_mem')),
            hint = format('Set it to %sMB or more, for this session or for the role, and tune again.', v_mb);
    elsif v_hurried and v_former is not null and not exists (
            select 1 from jsonb_to_recordset(v_found) f (kind text, lists integer) where f.kind = v_former ->> 'kind'
              and coalesce(f.lists * sqrt((v_former ->> 'rows')::double precision / v_rows) / (v_former ->> 'lists')::integer between 0.9 and 1.1, true)) then
        raise notice 'tune_index: % was found best with more time, and is so until it is measured beside these', concat_ws(' ', v_former ->> 'kind', v_former ->> 'lists');
        v_best := null;
    elsif v_best is not null then
        update embedding_models m
        set index_choice = v_best || jsonb_build_object('half', p.half, 'target_recall', p.target_recall, 'share', share, 'rows', v_rows, 'tuned_at', now(), 'own_queries', queries is not null)
        where m.model_id = p.model_id;
    end if;
    return query
    select f.kind, f.lists, f.knob, f.recall, f.milliseconds, f.build_seconds, coalesce(to_jsonb(f) = v_best, false)
    from jsonb_to_recordset(v_found) f (kind text, lists integer, knob integer, recall double precision, milliseconds double precision, build_seconds double precision)
    order by f.milliseconds;
end;
$tune_index$;
revoke all on function kompanion.tune_index(text, double precision, double precision, text[], double precision, integer, vector[]) from public;
comment on function kompanion.tune_index(text, double precision, double precision, text[], double precision, integer, vector[]) is
    'Find the vector index of a model that reaches target_recall fastest: candidates are built and measured on a copy of its vectors. Remembers the best; select statement from index_statements(model) \gexec then builds it, concurrently, and calibrates. Needs room for the copy. Run it as the owner of the tables.';
