-- depends: pg_0026_vector_index
-- Calibration: the database measures recall and cost of its own vector index, and search chooses by it.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._knob_ladder(
    kind  text,
    lists integer
)
    returns integer[]
    language plpgsql
    immutable
    set search_path from current
as $_knob_ladder$
-- The probes or ef_search to measure: steps of 1.4 while they are cheap, of 2 where they are not. Beyond 7 of 10 lists an
-- exact scan costs less; pgvector takes an ef_search of 1000 at most.
begin
    return array(
        select distinct l.knob
        from generate_series(0, 30) s (n)
        cross join lateral (
            select case kind when 'hnsw' then round(10 * 2 ^ (s.n / 2.0)) else round(2 ^ (least(s.n, 8) / 2.0 + greatest(s.n - 8, 0))) end::integer as knob) l
        where l.knob <= case kind when 'hnsw' then 1000 else greatest(1, lists * 0.7) end
        order by 1);
end;
$_knob_ladder$;
revoke all on function kompanion._knob_ladder(text, integer) from public;
comment on function kompanion._knob_ladder(text, integer) is 'Internal. The probes or ef_search that calibrate measures.';

create function kompanion._sample_queries(
    model_id      integer,
    n             integer,
    namespace_ids uuid[]  default null,
    mixed         boolean default true,
    learned       bigint  default null
)
    returns table (query vector, chunk_id bigint, namespace_id uuid, is_mixed boolean)
    language plpgsql
    volatile
    set search_path from current
as $_sample_queries$
-- Stored vectors to ask with, in random order; chunk_id is to be left out of the answers. Every other one is mixed with
-- three tenths of another, since what users ask resembles stored text less than stored texts resemble each other. learned: the
-- last chunk of them, as search looks at all that came after an ivfflat index was built where that is what it meets.
declare
    v_rows  double precision := (select greatest(c.reltuples, 1) from pg_class c where c.oid = 'kompanion.embeddings'::regclass);
    v_share double precision := least(100, 100 * (4.0 * n + 1000) / v_rows);
    v_dim   integer := (select m.dim from embedding_models m where m.model_id = _sample_queries.model_id);
    v_drawn _search_hit[] := '{}';
begin
    if namespace_ids is null then
        v_drawn := array(select (e.namespace_id, e.item_id, e.chunk_id, null)::_search_hit from embeddings e tablesample system (v_share)
                         where e.model_id = _sample_queries.model_id and is_live(e.deleted_at, e.expires_at)
                           and (learned is null or e.chunk_id <= learned)
                         order by random() limit n + 1);
    end if;
    if cardinality(v_drawn) <= n then  -- a scope, a model with few vectors among those of others, or statistics that are behind
        v_drawn := array(select (e.namespace_id, e.item_id, e.chunk_id, null)::_search_hit from embeddings e
                         where e.model_id = _sample_queries.model_id and is_live(e.deleted_at, e.expires_at)
                           and (_sample_queries.namespace_ids is null or e.namespace_id = any (_sample_queries.namespace_ids))
                           and (learned is null or e.chunk_id <= learned)
                         order by random() limit n + 1);
    end if;
    return query
    with numbered as materialized (
        select d.i, e.vector, e.chunk_id, e.namespace_id
        from unnest(v_drawn) with ordinality d (namespace_id, item_id, chunk_id, distance, i)
        join embeddings e on e.namespace_id = d.namespace_id and e.chunk_id = d.chunk_id and e.model_id = _sample_queries.model_id
    )
    select case when mixed and a.i % 2 > 0 and vector_norm(m.vector) > 0 then m.vector else a.vector end,
           a.chunk_id, a.namespace_id, mixed and a.i % 2 > 0
    from numbered a
    left join numbered b on b.i = a.i + 1
    cross join lateral (select a.vector * array_fill(0.7::real, array[v_dim])::vector
                             + coalesce(b.vector, a.vector) * array_fill(0.3::real, array[v_dim])::vector as vector) m
    where a.i <= n
    order by a.i;
end;
$_sample_queries$;
revoke all on function kompanion._sample_queries(integer, integer, uuid[], boolean, bigint) from public;
comment on function kompanion._sample_queries(integer, integer, uuid[], boolean, bigint) is 'Internal. Random stored vectors of a model, or of a scope, to measure with.';

create function kompanion._true_nearest(
    plan    kompanion._search_plan,
    queries vector[],
    but_for bigint[],
    parts   integer[],
    source  text default 'kompanion.embeddings',
    out furthest double precision[],
    out counts   integer[]
)
    language plpgsql
    stable
    set search_path from current
    set jit = off
    set parallel_tuple_cost = 0  -- hardly a row comes through, which the planner does not know
as $_true_nearest$
-- How far the plan.k nearest live chunks of each query reach, exactly, without its own, and how many those are: for each query
-- and, within it, each part, among the rows whose hash falls into so many of 1024. Distances and not ids: of vectors equally
-- near, as duplicates are, one is as right as the other. One scan for all queries and parts, which takes along what is within
-- the distance where a random sample has about twice what the smallest part needs, and is done again where that was too near.
declare
    c_sample constant double precision := 10000;
    v_depth  double precision := case when 1024 = all (parts) then 1 else 2.2 * 1024 / (select min(x) from unnest(parts) x) end * plan.k;
    v_share  double precision := least(1, c_sample / greatest(plan.rows, 1));
    v_metric text := case plan.metric when 'cosine' then '<=>' when 'l2' then '<->' else '<#>' end;
    v_near   text;
    v_within text;
    v_bounds double precision[];
begin
    select string_agg(format('e.vector %s %L::vector', v_metric, q.vector), ', ' order by q.n),
           string_agg(format('e.vector %s %L::vector <= ($2)[%s]', v_metric, q.vector, q.n), ' or ' order by q.n)
    into v_near, v_within
    from unnest(queries) with ordinality q (vector, n);
    loop
        execute format('with near as materialized (select array[%s] as d from %s e tablesample system (%s) '
                       'where e.model_id = %s and kompanion.is_live(e.deleted_at, e.expires_at)) '
                       'select array_agg(coalesce((select x.d[q] from near x order by 1 offset %s limit 1), ''infinity'') order by q) from generate_series(1, %s) q',
                       v_near, source, 100 * v_share, plan.model_id, ceil(v_depth * v_share + case when v_share < 1 then 3 * sqrt(v_depth * v_share) + 3 else 0 end), cardinality(queries))
        into v_bounds;
        -- By EXECUTE, as else no worker may help.
        execute format('with near as materialized (select e.chunk_id, hashint8(e.chunk_id) & 1023 as h, array[%s] as d from %s e '
                       'where e.model_id = %s and kompanion.is_live(e.deleted_at, e.expires_at) and (%s)) '
                       'select array_agg(f.furthest order by q.n, p.n), array_agg(f.found order by q.n, p.n) '
                       'from unnest($1) with ordinality q (but_for, n) cross join unnest($3) with ordinality p (part, n) cross join lateral ('
                       'select max(x.d) as furthest, count(*)::integer as found from (select n.d[q.n] as d from near n '
                       'where n.h < p.part and n.chunk_id <> q.but_for and n.d[q.n] <= ($2)[q.n] order by 1 limit $4) x) f', v_near, source, plan.model_id, v_within)
        into furthest, counts using but_for, v_bounds, parts, plan.k;
        exit when plan.k = all (counts) or 'infinity' = all (v_bounds);
        v_depth := v_depth * 4;
    end loop;
end;
$_true_nearest$;
revoke all on function kompanion._true_nearest(kompanion._search_plan, vector[], bigint[], integer[], text) from public;
comment on function kompanion._true_nearest(kompanion._search_plan, vector[], bigint[], integer[], text) is
    'Internal. How far the true nearest of random parts of all rows reach, for several queries in one scan.';

create function kompanion._try_knob(
    plan     kompanion._search_plan,
    query    vector,
    but_for  bigint,
    part     integer,
    furthest double precision,
    present  integer,
    source   text default 'kompanion.embeddings',
    out recall       double precision,
    out milliseconds double precision
)
    language plpgsql
    volatile
    set search_path from current
as $_try_knob$
-- One query by the index at plan.knob, for its plan.k nearest: the share of the true nearest that it finds, all where there
-- are none, and its time with that of planning.
declare
    v_hits  bigint;
    v_start timestamptz := clock_timestamp();
begin
    execute 'select count(*) filter (where (f.h).distance <= $9) from ('
        || _index_statement(plan, format('e.chunk_id <> %s and hashint8(e.chunk_id) & 1023 < %s', but_for, part), source) || ') f (h)'
    into v_hits using query, plan.k, plan.namespace_ids, plan.thread_ids, plan.tags_any, plan.tags_all, plan.tags_none, plan.filter, furthest;
    milliseconds := extract(epoch from clock_timestamp() - v_start) * 1000;
    recall := coalesce(least(1, v_hits / nullif(present, 0)::double precision), 1);
end;
$_try_knob$;
revoke all on function kompanion._try_knob(kompanion._search_plan, vector, bigint, integer, double precision, integer, text) from public;
comment on function kompanion._try_knob(kompanion._search_plan, vector, bigint, integer, double precision, integer, text) is
    'Internal. Recall and time of one query at one setting of the index.';

create function kompanion._row_costs(
    plan          kompanion._search_plan,
    query         vector,
    namespace_ids uuid[],
    out row_us    double precision,
    out item_us   double precision
)
    language plpgsql
    volatile
    set search_path from current
as $_row_costs$
-- Microseconds that an exact search takes a row, by scope and through the items: the better of two runs over enough of the
-- namespaces given to see 5,000 rows. All rows of those are counted, as all are looked at.
declare
    v_rows  bigint := 0;
    v_start timestamptz;
    v_id    uuid;
begin
    for v_id in select u.id from unnest(_row_costs.namespace_ids) with ordinality u (id, n) group by u.id order by min(u.n) loop
        plan.namespace_ids := plan.namespace_ids || v_id;
        v_rows := v_rows + _count_vectors(plan.model_id, array[v_id], 2147483647);
        exit when v_rows >= 5000;
    end loop;
    for n in 1 .. 2 loop
        v_start := clock_timestamp();
        perform _nearest_exact(plan, query, 10);
        row_us := least(row_us, extract(epoch from clock_timestamp() - v_start) * 1e6 / greatest(v_rows, 1));
        v_start := clock_timestamp();
        perform _scan_items(plan, query, 20000, 10);
        item_us := least(item_us, extract(epoch from clock_timestamp() - v_start) * 1e6 / greatest(least(v_rows, 20000), 1));
    end loop;
end;
$_row_costs$;
revoke all on function kompanion._row_costs(kompanion._search_plan, vector, uuid[]) from public;
comment on function kompanion._row_costs(kompanion._search_plan, vector, uuid[]) is 'Internal. What an exact search costs a row.';

create function kompanion._calibration_plan(
    model text
)
    returns kompanion._search_plan
    language plpgsql
    stable
    set search_path from current
as $_calibration_plan$
-- A search of everything by the model's index, ten nearest chunks, to measure with.
declare
    p _search_plan;
begin
    select m.model_id, m.model, m.dim, m.metric into p.model_id, p.model, p.dim, p.metric from _model(_calibration_plan.model) m;
    select x.name, x.kind, x.lists, x.half, x.rows, x.index, nullif((x.index ->> 'iterative')::boolean, false)
    into p.index_name, p.index_kind, p.lists, p.half, p.rows, p.index, p.iterative
    from _vector_index(p.model_id) x where x.valid;
    -- What the catalog tells of an index may be stale. Where most vectors came after it was built they are asked with, too.
    select count(*), case when p.index_kind = 'ivfflat' and count(*) filter (where e.chunk_id <= m.index_chunk and is_live(e.deleted_at, e.expires_at))
                                                            >= count(*) filter (where e.chunk_id > m.index_chunk and is_live(e.deleted_at, e.expires_at)) then max(m.index_chunk) end
    into p.rows, p.learned
    from embeddings e join embedding_models m on m.model_id = e.model_id
    where e.model_id = p.model_id;
    p.k := 10;
    p.by_item := false;
    return p;
end;
$_calibration_plan$;
revoke all on function kompanion._calibration_plan(text) from public;
comment on function kompanion._calibration_plan(text) is 'Internal. A search by the index of a model, to measure with.';

create function kompanion._time_limit(
    seconds double precision
)
    returns timestamptz
    language plpgsql
    stable
    set search_path from current
as $_time_limit$
-- When so many seconds are over, or four fifths of what statement_timeout leaves the statement: before it loses what it has done.
begin
    return least(clock_timestamp() + make_interval(secs => seconds),
                 statement_timestamp() + 0.8 * nullif(current_setting('statement_timeout')::interval, '0'));
end;
$_time_limit$;
revoke all on function kompanion._time_limit(double precision) from public;
comment on function kompanion._time_limit(double precision) is 'Internal. When so many seconds are over, or nearly statement_timeout.';
