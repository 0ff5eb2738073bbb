-- depends: pg_0028_curves
-- calibrate: the measurement itself.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._begin_calibration(
    plan   kompanion._search_plan,
    asked  vector[],
    digest text,
    n      integer
)
    returns jsonb
    language plpgsql
    volatile
    set search_path from current
as $_begin_calibration$
-- An empty calibration of the index in the plan: what the look around costs, where difficulties part, what a row costs.
declare
    c_shares   constant jsonb := '[1, 0.3, 0.1, 0.03, 0.01]';
    v_ladder   integer[] := _knob_ladder(plan.index_kind, plan.lists);
    v_look     integer := case plan.index_kind when 'hnsw' then 40 else 1 end;
    v_rows     integer := case plan.index_kind when 'hnsw' then v_look else 400 end;  -- most of a list: ten matches in sight down to a share of a tenth or less
    v_parts    integer[] := array(select ceil(1024 * e::double precision)::integer from jsonb_array_elements_text(c_shares) e);
    v_ids      uuid[] := '{}';
    v_edges    jsonb;
    v_costs    record;
    v_query    vector;
    v_seen     _search_plan;
    v_reaches  double precision[] := '{}';  -- of each query, by share
    v_repeats  double precision[] := '{}';
    v_start    timestamptz;
    v_ms       double precision[] := '{}';
    v_zeros    jsonb := to_jsonb(array_fill(0, array[2 * 4 * jsonb_array_length(c_shares) * cardinality(v_ladder)]));
    v_look_ms  double precision;
    v_rare     integer;
    r          record;
begin
    plan.knobs := jsonb_build_object('look', v_look, 'look_rows', v_rows);
    for r in
        select s.query, s.chunk_id, s.namespace_id from _sample_queries(plan.model_id, case when asked is null then least(1000, greatest(n, 100)) else 100 end, learned => plan.learned) s
        union all
        (select a.query, -1, null from unnest(asked) a (query) order by random() limit 1000)
    loop
        -- Difficulty is that of the queries that will be asked; costs and repeats those of a look in a scope, as most searches take.
        plan.namespace_ids := case when r.namespace_id is not null then array[r.namespace_id] end;
        v_start := clock_timestamp();
        v_seen := _look_around(plan, r.query, 'e.chunk_id <> ' || r.chunk_id);
        if r.namespace_id is not null then
            v_ms := v_ms || extract(epoch from clock_timestamp() - v_start)::double precision * 1000;
            v_repeats := v_repeats || (select count(*) / nullif(count(distinct h.item_id), 0)::double precision from unnest(v_seen.nearest) h);
            v_ids := v_ids || r.namespace_id;
        end if;
        if asked is null or r.namespace_id is null then
            v_reaches := v_reaches || _look_reaches(plan, r.query, r.chunk_id, v_parts);
        end if;
        v_query := r.query;
    end loop;
    -- None where more than the most difficult see too few matches.
    select coalesce(jsonb_agg(case when e.share = 0 or e.seen >= 0.85 then e.edges end order by e.share), '[[]]') into v_edges
    from (select x.share, count(x.reach)::double precision / count(*) as seen,
                 coalesce(to_jsonb(percentile_cont(array[0.3, 0.6, 0.85]) within group (order by coalesce(x.reach, x.furthest))), '[]') as edges
          from (select (t.n - 1) % cardinality(v_parts) as share, t.reach, max(t.reach) over (partition by (t.n - 1) % cardinality(v_parts)) as furthest
                from unnest(v_reaches) with ordinality t (reach, n)) x group by x.share) e;
    plan.namespace_ids := null;
    select * into v_costs from _row_costs(plan, v_query, v_ids);
    v_look_ms := (select percentile_cont(0.5) within group (order by m) from unnest(v_ms) m);
    v_rare := round(8000 * v_look_ms / v_costs.item_us);
    return jsonb_build_object(
        'index', plan.index,
        -- So many items may be gone through in four times a look around, which costs twice as much in a statement of its own as
        -- it does here.
        'rare_items', v_rare,
        'rows', plan.rows, 'server', current_setting('server_version'),
        'pgvector', (select x.extversion from pg_extension x where x.extname = 'vector'),
        'k', plan.k, 'started_at', now(), 'queries', 0, 'queries_digest', digest, 'complete', false,
        'ladder', to_jsonb(v_ladder), 'shares', c_shares, 'edges', v_edges, 'look', v_look, 'look_rows', v_rows,
        -- Chunks of an item that lie together: as many as in four of five places at most.
        'repeats', (select percentile_cont(0.8) within group (order by t) from unnest(v_repeats) t),
        'look_ms', v_look_ms,
        'row_us', v_costs.row_us, 'item_us', v_costs.item_us,
        'runs', v_zeros, 'hits', v_zeros, 'squares', v_zeros, 'ms', v_zeros, 'timed', v_zeros);
end;
$_begin_calibration$;
revoke all on function kompanion._begin_calibration(kompanion._search_plan, vector[], text, integer) from public;
comment on function kompanion._begin_calibration(kompanion._search_plan, vector[], text, integer) is 'Internal. An empty calibration, with the costs that are needed first.';

create function kompanion._try_ladder(
    plan     kompanion._search_plan,
    query    vector,
    but_for  bigint,
    part     integer,
    furthest double precision,
    present  integer,
    ladder   integer[],
    out recalls      double precision[],
    out milliseconds double precision[]
)
    language plpgsql
    volatile
    set search_path from current
as $_try_ladder$
-- Recall and time of one query at each setting of the index; no time (NULL) once all are found: more probes find them too.
declare
    v_recall double precision := 0;
    v_time   double precision;
begin
    foreach plan.knob in array ladder loop
        v_time := null;
        if v_recall < 1 then
            perform _apply_settings(x.names, x.settings) from _index_settings(plan, plan.k) x;
            select t.recall, t.milliseconds into v_recall, v_time from _try_knob(plan, query, but_for, part, furthest, present) t;
        end if;
        recalls := recalls || v_recall;
        milliseconds := milliseconds || v_time;
    end loop;
end;
$_try_ladder$;
revoke all on function kompanion._try_ladder(kompanion._search_plan, vector, bigint, integer, double precision, integer, integer[]) from public;
comment on function kompanion._try_ladder(kompanion._search_plan, vector, bigint, integer, double precision, integer, integer[]) is
    'Internal. Recall and time of one query at each setting of the index.';

create function kompanion.calibrate(
    model   text             default null,
    seconds double precision default 60,
    sample  integer          default 2000,
    queries vector[]         default null
)
    returns table (share double precision, knob integer, recall double precision, milliseconds double precision, runs bigint)
    language plpgsql
    volatile
    set search_path from current
    set jit = off
    set extra_float_digits = 1  -- what is kept is kept as numbers of JSON
as $calibrate$
-- Measures recall@10 and time of the model's vector index for a ladder of probes or ef_search, at several filter shares and
-- by the difficulty of the query, beside the cost of exact search, and keeps it: from then on search chooses by it.
-- Goes on where the time of a former call ran out; begins anew when that was complete, or of other queries, another index, pgvector or size.
declare
    p       _search_plan := _calibration_plan(model);
    v_state jsonb;
    v_ladder integer[];
    v_shares integer;
    v_levels integer;
    v_digest text := (select encode(sha256(string_agg(vector_send(q.vector), '' order by q.n)), 'hex') from unnest(queries) with ordinality q (vector, n));
    v_end   timestamptz;
    v_told  timestamptz := clock_timestamp();
    v_done  integer;
    v_stopped boolean := false;  -- with fewer vectors than sample all are asked, and that is complete
    v_hits  double precision[];
    v_squares double precision[];
    v_ms    double precision[];
    v_runs  integer[];
    v_timed integer[];
    v_true  record;  -- of a batch
    v_tried record;  -- of a query at one share
    v_parts integer[];
    v_reaches double precision[];
    v_asked integer;
    v_names  text[];
    v_former text[];
    i integer; r record;
begin
    if coalesce(seconds not between 0.001 and 1000000, true) or coalesce(sample not between 10 and 100000, true) then
        raise exception using
            errcode = 'KM007', message = format('seconds, sample: %s seconds and %s queries cannot be', coalesce(seconds::text, 'NULL'), coalesce(sample::text, 'NULL')),
            hint    = 'Give seconds above 0 and 10 to 100000 queries; 60 and 2000 are usual.';
    end if;
    perform _check_queries(queries, p.dim, p.metric);
    perform _needs_all('calibrate');
    v_end := _time_limit(seconds);
    if p.index_name is null or _has_rival_index(p.model_id) then
        raise notice 'calibrate: model "%" has no valid vector index, or two of them, and search is exact; index_advice tells what to run', p.model;
        return;
    end if;
    if (select count(*) from (select from embeddings e where e.model_id = p.model_id and is_live(e.deleted_at, e.expires_at) limit 2) x) < 2 then
        raise notice 'calibrate: model "%" has no two vectors to compare, or none that this role sees', p.model;
        return;
    end if;
    perform _hold_models(p.model_id);
    v_state := (select m.calibration from embedding_models m where m.model_id = p.model_id);
    if v_state is null or (v_state ->> 'complete')::boolean or v_state ->> 'queries_digest' is distinct from v_digest
       or v_state -> 'index' <> p.index or p.rows not between (v_state ->> 'rows')::bigint / 2 and (v_state ->> 'rows')::bigint * 2
       or v_state ->> 'pgvector' <> (select x.extversion from pg_extension x where x.extname = 'vector') then
        v_state := _begin_calibration(p, queries, v_digest, sample / 2);
    end if;
    p.knobs := v_state - '{runs,hits,squares,ms,timed}'::text[];
    v_shares := jsonb_array_length(v_state -> 'shares');
    v_levels := jsonb_array_length(v_state -> 'edges' -> 0) + 1;
    v_parts := array(select ceil(1024 * e::double precision)::integer from jsonb_array_elements_text(v_state -> 'shares') e);
    v_ladder := array(select e::integer from jsonb_array_elements_text(v_state -> 'ladder') e);
    v_hits := array(select e::double precision from jsonb_array_elements_text(v_state -> 'hits') e);
    v_squares := array(select e::double precision from jsonb_array_elements_text(v_state -> 'squares') e);
    v_ms := array(select e::double precision from jsonb_array_elements_text(v_state -> 'ms') e);
    v_runs := array(select e::integer from jsonb_array_elements_text(v_state -> 'runs') e);
    v_timed := array(select e::integer from jsonb_array_elements_text(v_state -> 'timed') e);
    v_done := (v_state ->> 'queries')::integer;
    v_names := (_index_settings(p, p.k)).names;
    v_former := array(select current_setting(n, true) from unnest(v_names) n);
    for r in
        select array_agg(a.query order by a.n) as queries, array_agg(a.chunk_id order by a.n) as own, array_agg(a.is_mixed order by a.n) as mixed
        from (select s.query, s.chunk_id, s.is_mixed, row_number() over () as n
              from _sample_queries(p.model_id, greatest(sample - v_done, 0), learned => p.learned) s where calibrate.queries is null
              union all
              select q.vector, -1, false, q.n - v_done from unnest(calibrate.queries) with ordinality q (vector, n) where q.n > v_done) a
        group by (a.n - 1) / 8 order by min(a.n)  -- so many share a scan for what is truly nearest
    loop
        -- Rare matches cost the most to measure, and are found by the index the least often: every fourth eight ask, of the first 400.
        v_asked := case when v_done % 32 < 8 and v_done < 400 then v_shares else 3 end;
        v_true := _true_nearest(p, r.queries, r.own, v_parts[1:v_asked]);
        for n in 1 .. cardinality(r.queries) loop
            v_stopped := clock_timestamp() > v_end and v_done >= 10;
            exit when v_stopped;
            v_reaches := _look_reaches(p, r.queries[n], r.own[n], v_parts[1:v_asked]);
            for s in 0 .. v_asked - 1 loop
                p.difficulty := _difficulty(p.knobs, (p.knobs -> 'shares' ->> s)::double precision, v_reaches[1], v_reaches[s + 1]);
                v_tried := _try_ladder(p, r.queries[n], r.own[n], v_parts[s + 1], v_true.furthest[(n - 1) * v_asked + s + 1],
                                       v_true.counts[(n - 1) * v_asked + s + 1], v_ladder);
                i := ((r.mixed[n]::integer * v_levels + p.difficulty) * v_shares + s) * cardinality(v_ladder);
                for j in 1 .. cardinality(v_ladder) loop
                    v_hits[i + j] := v_hits[i + j] + v_tried.recalls[j];
                    v_squares[i + j] := v_squares[i + j] + v_tried.recalls[j] ^ 2;
                    v_runs[i + j] := v_runs[i + j] + 1;
                    v_ms[i + j] := v_ms[i + j] + coalesce(v_tried.milliseconds[j], 0);
                    v_timed[i + j] := v_timed[i + j] + (v_tried.milliseconds[j] is not null)::integer;
                end loop;
            end loop;
            v_done := v_done + 1;
            if clock_timestamp() > v_told + interval '5 seconds' then
                v_told := clock_timestamp();
                raise notice 'calibrate: % of % queries, % s left', v_done, coalesce(cardinality(queries), sample),
                    round(greatest(extract(epoch from v_end - v_told), 0));
            end if;
        end loop;
        perform _apply_settings(v_names, v_former);  -- those that the next scan for what is truly nearest needs
        exit when v_stopped;
    end loop;
    v_state := v_state || jsonb_build_object('queries', v_done, 'complete', not v_stopped, 'finished_at', clock_timestamp(),
        'scans', pg_stat_get_numscans((p.index ->> 'oid')::oid) + pg_stat_get_xact_numscans((p.index ->> 'oid')::oid),
        'hits', to_jsonb(v_hits), 'squares', to_jsonb(v_squares), 'ms', to_jsonb(v_ms), 'runs', to_jsonb(v_runs), 'timed', to_jsonb(v_timed));
    update embedding_models m set calibration = v_state, (knobs, knob_table) = (select k.knobs, k.knob_table from _knobs_from(v_state) k)
    where m.model_id = p.model_id;
    return query
    select (v_state -> 'shares' ->> s.n)::double precision, c.knob, c.recall, c.milliseconds, c.runs
    from generate_series(0, jsonb_array_length(v_state -> 'shares') - 1) s (n)
    cross join lateral _calibration_curve(v_state, s.n) c
    order by s.n, c.knob;
end;
$calibrate$;
revoke all on function kompanion.calibrate(text, double precision, integer, vector[]) from public;
comment on function kompanion.calibrate(text, double precision, integer, vector[]) is
    'Measure recall@10 and time of a model''s vector index at a ladder of probes (ivfflat) or ef_search (hnsw) and several filter shares; search chooses exact or index and the knob by it. Stops after seconds, but not before ten queries are answered, and goes on when called again. queries: vectors users really ask with, instead of a sample of the stored ones.';
