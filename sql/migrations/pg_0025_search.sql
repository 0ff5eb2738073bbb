-- depends: pg_0024_search_plan
-- The search itself: the nearest of a scope, exactly min(k, matches) of them, and what it did.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._run_search(
    plan      kompanion._search_plan,
    query     vector,
    per_chunk boolean,
    out hits      kompanion._search_hit[],
    out topped_up boolean,
    out knob      integer
)
    language plpgsql
    stable
    set search_path from current
as $_run_search$
-- The k nearest in order of distance, one chunk an item unless chunks are asked for. Several near chunks of one item
-- take places: then more are fetched, as deeply as so many chunks need. When the index has no more to give, the rest is found
-- exactly: never short. knob: the one it went to in the end.
declare
    v_exact   boolean := plan.path = 'exact';
    v_deeper  integer;
    v_seen    boolean;
    v_fetch   integer := case when per_chunk then plan.k else 2 * plan.k end;
    v_fetched integer;
    v_items   uuid[];
    v_place   bigint;
begin
    topped_up := false;
    loop
        v_seen := plan.nearest is not null;
        if v_seen then
            hits := plan.nearest;  -- planning has seen enough of them
            plan.nearest := null;
            v_fetch := 2 * plan.k;
        elsif not v_exact then
            hits := _nearest_by_index(plan, query, v_fetch);
        elsif plan.by_row then
            hits := _nearest_by_row(plan, query, v_fetch);
        elsif plan.by_item then
            select s.nearest into hits from _scan_items(plan, query, null, v_fetch) s;
        else
            hits := _nearest_exact(plan, query, v_fetch);
        end if;
        v_fetched := cardinality(hits);
        if not per_chunk then
            -- Mostly no item is among the first twice; to see that takes a tenth of the time of the query.
            v_items := '{}';
            for i in 1 .. case when plan.k <= 100 then least(plan.k, v_fetched) else 0 end loop
                exit when hits[i].item_id = any (v_items);
                v_items := v_items || hits[i].item_id;
            end loop;
        end if;
        if not per_chunk and cardinality(v_items) < plan.k then
            -- Of each item its nearest chunk; and how many chunks it took to see the k-th item.
            select coalesce(array_agg((b.namespace_id, b.item_id, b.chunk_id, b.distance)::_search_hit order by b.n), '{}'), (array_agg(b.n order by b.n))[plan.k]
            into hits, v_place
            from (select distinct on (h.namespace_id, h.item_id) h.*
                  from unnest(hits) with ordinality h (namespace_id, item_id, chunk_id, distance, n)
                  order by h.namespace_id, h.item_id, h.n) b;
            if v_place > plan.k and not v_exact and plan.knobs is not null then
                v_deeper := _knob_for_chunks(plan, query, hits[plan.k].distance, v_place);
                v_exact := v_deeper is null;
                topped_up := v_exact;
                if v_exact or v_deeper > plan.knob then
                    plan.knob := v_deeper;
                    v_fetch := greatest(v_fetch, v_place);
                    continue;
                end if;
            end if;
        end if;

        exit when cardinality(hits) >= plan.k or v_exact and v_fetched < v_fetch;
        if v_seen and not v_exact then
            v_seen := false;  -- a look around saw too few items: the index has more
        elsif v_fetched < v_fetch then
            v_exact := true;
            topped_up := true;
        else
            v_fetch := v_fetch * 4;
        end if;
    end loop;
    hits := hits[1:plan.k];
    knob := plan.knob;
end;
$_run_search$;
revoke all on function kompanion._run_search(kompanion._search_plan, vector, boolean) from public;
comment on function kompanion._run_search(kompanion._search_plan, vector, boolean) is
    'Internal. Runs a planned search; topped_up tells that the index gave too few and the rest was found exactly.';

create function kompanion.search(
    scope         text,
    query         vector,
    k             integer          default 10,
    model         text             default null,
    thread        text             default null,
    tags_any      text[]           default null,
    tags_all      text[]           default null,
    tags_none     text[]           default null,
    filter        jsonb            default null,
    target_recall double precision default null,
    per_chunk     boolean          default false
)
    returns table (rank integer, namespace text, namespace_id uuid, item_id uuid, key text, chunk_id bigint, ordinal integer,
                   chunk text, metadata jsonb, tags text[], item_thread text, revision integer, distance double precision,
                   score double precision, created_at timestamptz, updated_at timestamptz, expires_at timestamptz)
    language plpgsql
    stable
    set search_path from current
    set plan_cache_mode = force_generic_plan  -- looking up ten rows takes less time than planning it,
    set enable_seqscan = off                  -- and a plan made while a table was small is kept;
    set jit = off                             -- before PostgreSQL 18 a forbidden scan looks so dear that it would be compiled, for 0.2 s
as $search$
-- The min(k, matches) nearest items of a scope, each by its best chunk, in order of distance.
-- Stable: all of it sees one snapshot, so nothing a concurrent writer does can shorten the answer.
declare
    v_plan _search_plan := _plan_search(scope, query, model, k, thread, tags_any, tags_all, tags_none, filter, target_recall);
    v_run  record := _run_search(v_plan, query, coalesce(per_chunk, false));  -- an assignment: a query would cost more than most of what it does
begin
    return query
    select h.n::integer, n.path, h.namespace_id, h.item_id, i.key, h.chunk_id, c.ordinal, c.content, i.metadata, i.tags, t.key,
           i.revision, h.distance,
           case v_plan.metric when 'cosine' then 1 - h.distance when 'l2' then 1 / (1 + h.distance) else -h.distance end,
           i.created_at, i.updated_at, i.expires_at
    from unnest(v_run.hits) with ordinality as h (namespace_id, item_id, chunk_id, distance, n)
    -- "offset 0" is a fence: without it the planner may look up a namespace by the first half of the key, and go through it.
    cross join lateral (select * from memory_items m where m.namespace_id = h.namespace_id and m.item_id = h.item_id offset 0) i
    cross join lateral (select * from memory_chunks m where m.namespace_id = h.namespace_id and m.chunk_id = h.chunk_id offset 0) c
    join namespaces n on n.namespace_id = h.namespace_id
    left join threads t on t.namespace_id = i.namespace_id and t.thread_id = i.thread_id
    order by h.n;
end;
$search$;
revoke all on function kompanion.search(text, vector, integer, text, text, text[], text[], text[], jsonb, double precision, boolean) from public;
comment on function kompanion.search(text, vector, integer, text, text, text[], text[], text[], jsonb, double precision, boolean) is
    'The nearest live items of a scope: exactly min(k, matches) rows, nearest first, one per item by its best chunk (or per_chunk). '
    'distance is the metric''s (inner_product: negative); score grows with nearness: 1 - distance for cosine, 1 / (1 + distance) for l2, the product itself for inner_product. '
    'scope is a namespace with all below it, or ''*''. KM002 bad scope, KM004 bad vector, KM005 unknown model, KM006 bad filter, KM007 bad k.';

create function kompanion.explain_search(
    scope         text,
    query         vector,
    k             integer          default 10,
    model         text             default null,
    thread        text             default null,
    tags_any      text[]           default null,
    tags_all      text[]           default null,
    tags_none     text[]           default null,
    filter        jsonb            default null,
    target_recall double precision default null,
    per_chunk     boolean          default false
)
    returns jsonb
    language plpgsql
    volatile
    set search_path from current
as $explain_search$
-- Runs the search and tells how it went: what was counted, which path was taken and why, what was visited.
declare
    v_start   timestamptz := clock_timestamp();
    v_plan    _search_plan := _plan_search(scope, query, model, k, thread, tags_any, tags_all, tags_none, filter, target_recall);
    v_run     record;
    s         record;
    v_node    jsonb;
    v_visited bigint;
    v_matches bigint := v_plan.matches;
    v_ms      numeric;
begin
    v_run := _run_search(v_plan, query, coalesce(per_chunk, false));
    v_ms := round(extract(epoch from clock_timestamp() - v_start) * 1000, 3);
    if v_plan.path = 'exact' and v_matches is null then
        v_matches := case when v_plan.by_item then (_scan_items(v_plan, query, null, 0)).matches
                     else _count_vectors(v_plan.model_id, v_plan.namespace_ids, 2147483647) end;
    end if;
    v_visited := case when v_plan.by_row then _count_vectors(v_plan.model_id, v_plan.namespace_ids, 2147483647) else v_matches end;
    if v_plan.path = 'index' then
        s := _index_settings(v_plan, case when per_chunk then k else 2 * k end);
        s.settings := _apply_settings(s.names, s.settings);
        execute 'explain (analyze, timing off, costs off, format json) ' || _index_statement(v_plan) into v_node
            using query, case when per_chunk then k else 2 * k end, v_plan.namespace_ids, v_plan.thread_ids, v_plan.tags_any, v_plan.tags_all,
                  v_plan.tags_none, v_plan.filter;
        perform _apply_settings(s.names, s.settings);
        v_visited := (
            with recursive node as (
                select v_node -> 0 -> 'Plan' as p
                union all
                select c from node, jsonb_array_elements(node.p -> 'Plans') c
            )
            -- What the scan handed over, or, as ivfflat compares all that is in the lists it probes, about so many.
            select greatest(sum((p ->> 'Actual Rows')::numeric + coalesce((p ->> 'Rows Removed by Filter')::numeric, 0)),
                            round(coalesce(v_plan.rows, (v_plan.knobs ->> 'rows')::bigint) * v_plan.knob::numeric / v_plan.lists))
            from node where p ->> 'Index Name' = v_plan.index_name
            having count(*) > 0);
    end if;
    return jsonb_strip_nulls(jsonb_build_object(
        'path', case when v_plan.path = 'index' and v_run.topped_up then 'index, topped up exactly' else v_plan.path end,
        'reason', v_plan.reason,
        'model', v_plan.model, 'metric', v_plan.metric, 'k', k, 'returned', cardinality(v_run.hits),
        'namespaces', cardinality(v_plan.namespace_ids),
        'matches', case when v_matches is not null then least(v_matches, v_plan.threshold) end,
        'matches_counted', case when v_matches is null then 'not at all' when v_matches > v_plan.threshold then 'more than the threshold' else 'all' end,
        'threshold', v_plan.threshold,
        'difficulty', v_plan.difficulty, 'density', round(v_plan.density::numeric, 4), 'looked_at', v_plan.looked,
        'filter', v_plan.filter::text,
        'index', v_plan.index_name, 'index_kind', v_plan.index_kind, 'lists', v_plan.lists,
        case v_plan.index_kind when 'hnsw' then 'ef_search' else 'probes' end, case when v_plan.path = 'index' then coalesce(v_run.knob, v_plan.knob) end,
        'iterative_scan', v_plan.iterative,
        'index_used', case when v_plan.path = 'index' then v_visited is not null end,
        'rows_visited', v_visited,
        'target_recall', v_plan.target_recall,
        'expected_recall', case when v_plan.path = 'exact' or v_run.topped_up then 1.0 else v_plan.recall end,
        'expected_recall_from', case when v_plan.path = 'exact' or v_run.topped_up then 'exact search'
                                when v_plan.recall is not null then 'calibration'
                                else 'not measured yet: safe defaults are used; run calibrate' end,
        'milliseconds', v_ms));
end;
$explain_search$;
revoke all on function kompanion.explain_search(text, vector, integer, text, text, text[], text[], text[], jsonb, double precision, boolean) from public;
comment on function kompanion.explain_search(text, vector, integer, text, text, text[], text[], text[], jsonb, double precision, boolean) is
    'Run a search and tell how it went, as JSON: path and reason, matches counted, threshold, index, lists, probes, rows visited, expected recall and where that number comes from.';
