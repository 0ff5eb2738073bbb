-- depends: pg_0020_search_paths
-- What calibrate measured, put to use: tags known to be rare, and a look around the query for how far a search must go.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._scan_tags(
    plan  kompanion._search_plan,
    query vector,
    bound bigint,
    n     integer,
    lead  text,
    out matches bigint,
    out nearest kompanion._search_hit[]
)
    language plpgsql
    stable
    set search_path from current
    set plan_cache_mode = force_generic_plan  -- the tags lead, whatever else is asked: planning would cost more than rare tags
    set jit = off
as $_scan_tags$
-- As _scan_items, for tags known to be rare: those of tags_all or of tags_any, as lead says, are looked up, and all else is
-- asked of what they give.
declare
    v_cosine constant boolean := plan.metric = 'cosine';
    v_l2     constant boolean := plan.metric = 'l2';
begin
    with tagged as materialized (
        select i.namespace_id, i.item_id, i.tags, i.thread_id, i.metadata
        from memory_items i
        where lead = 'all' and i.tags @> plan.tags_all and is_live(i.deleted_at, i.expires_at)
        union all
        select i.namespace_id, i.item_id, i.tags, i.thread_id, i.metadata
        from memory_items i
        where lead = 'any' and i.tags && plan.tags_any and is_live(i.deleted_at, i.expires_at)
    ),
    seen as materialized (
        select e.namespace_id, e.item_id, e.chunk_id,
               case when v_cosine then e.vector <=> query when v_l2 then e.vector <-> query else e.vector <#> query end as d
        from tagged i
        cross join lateral (
            select * from embeddings v
            where v.namespace_id = i.namespace_id and v.item_id = i.item_id and v.model_id = plan.model_id
              and is_live(v.deleted_at, v.expires_at)
            offset 0) e
        where (plan.namespace_ids is null or i.namespace_id = any (plan.namespace_ids))
          and (plan.thread_ids is null or i.thread_id = any (plan.thread_ids))
          and (plan.tags_any is null or i.tags && plan.tags_any)
          and (plan.tags_all is null or i.tags @> plan.tags_all)
          and (plan.tags_none is null or not i.tags && plan.tags_none)
          and (plan.filter is null or i.metadata @@ plan.filter)
        limit bound
    )
    select (select count(*) from seen),
           array(select (s.namespace_id, s.item_id, s.chunk_id, s.d)::_search_hit from seen s order by s.d, s.chunk_id limit n)
    into matches, nearest;
end;
$_scan_tags$;
revoke all on function kompanion._scan_tags(kompanion._search_plan, vector, bigint, integer, text) from public;
comment on function kompanion._scan_tags(kompanion._search_plan, vector, bigint, integer, text) is
    'Internal. Counts the matching vectors of a search with rare tags, and keeps the n nearest.';

create function kompanion._rare_tags(
    knobs    jsonb,
    tags_all text[],
    tags_any text[]
)
    returns text
    language plpgsql
    immutable
    set search_path from current
as $_rare_tags$
-- Which tags lead to so few items that going through them costs less than a look around: 'all', those of tags_all together,
-- 'any', those of tags_any, or NULL. By how common they were at the calibration, as if they did not depend on each other; to
-- find what two common ones have in common costs the index a twentieth of an item for each item of the rarer.
declare
    v_few   constant double precision := (knobs ->> 'rare_items')::double precision / greatest((knobs ->> 'rows')::double precision, 1);
    v_share double precision := 1;
    v_least double precision := 1;
    v_sum   double precision := 0;
    v_one   double precision;
    v_tag   text;
begin
    if knobs -> 'common_tags' = 'null' then
        return null;
    elsif tags_all is not null then
        foreach v_tag in array tags_all loop
            v_one := coalesce((knobs -> 'common_tags' ->> v_tag)::double precision, 0);
            v_share := v_share * v_one;
            v_least := least(v_least, v_one);
        end loop;
        if v_share <= v_few and v_least <= 20 * v_few then
            return 'all';
        end if;
    end if;
    if tags_any is not null then
        foreach v_tag in array tags_any loop
            v_sum := v_sum + coalesce((knobs -> 'common_tags' ->> v_tag)::double precision, v_few / 4);
        end loop;
        if v_sum <= v_few then
            return 'any';
        end if;
    end if;
    return null;
end;
$_rare_tags$;
revoke all on function kompanion._rare_tags(jsonb, text[], text[]) from public;
comment on function kompanion._rare_tags(jsonb, text[], text[]) is 'Internal. Which tags of a search lead to few items: all, any, or none (NULL).';

create function kompanion._look_around(
    plan  kompanion._search_plan,
    query vector,
    extra text default 'true'
)
    returns kompanion._search_plan
    language plpgsql
    stable
    set search_path from current
    set enable_sort = off
    set enable_seqscan = off
    set enable_bitmapscan = off
    set jit = off
as $_look_around$
-- Looks at the vectors nearest to the query, few and cheaply, whatever the scope, and learns two things that decide how
-- far a search must go: how difficult the query is (how far its tenth neighbour lies, against the calibration), and how
-- dense its matches are around it. A scope of a tenth of all rows may hold all neighbours of one query and none of another's.
declare
    v_columns constant text := 'e.namespace_id, e.item_id, e.chunk_id, ' || _conditions(plan) || ' as ok';
    v_knob    constant text := case plan.index_kind when 'hnsw' then 'hnsw.ef_search' else 'ivfflat.probes' end;
    v_scan    constant text := plan.index_kind || '.iterative_scan';
    v_former  constant text[] := array[current_setting(v_knob, true), current_setting(v_scan, true)];
    v_enough  constant integer := greatest(plan.k, 5);
    v_distances double precision[];
    v_places  bigint[];
    v_set     text;
begin
    plan.knob := (plan.knobs ->> 'look')::integer;
    -- Assignments, not queries: setting these in a SELECT takes longer than the look itself may.
    v_set := set_config(v_knob, plan.knob::text, true);
    if plan.iterative then
        v_set := set_config(v_scan, 'off', true);
    end if;
    -- Aggregated in the order of the scan, which is that of nearness.
    execute format('select array_agg((s.namespace_id, s.item_id, s.chunk_id, s.d)::kompanion._search_hit) filter (where s.ok), '
                   'count(*), array_agg(s.d), array_agg(s.n) filter (where s.ok) '
                   'from (select h.*, row_number() over () as n from (%s limit $3) h) s',
                   _index_scan(plan, v_columns, extra))
    using query, plan, case when plan.index_kind = 'hnsw' then plan.knob
                       when plan.by_item or plan.namespace_ids is not null then least(1000, greatest(100, 10 * plan.k))
                       else 2 * plan.k + 10 end  -- of everything there is, how dense it lies is known
    into plan.nearest, plan.looked, v_distances, v_places;
    plan.tenth := v_distances[least(10, plan.looked)];
    v_set := set_config(v_knob, v_former[1], true);
    if plan.iterative then
        v_set := set_config(v_scan, v_former[2], true);
    end if;

    -- Of the k nearest matches the last tells; where fewer are in sight their number does, less half its standard error, since
    -- to think them denser than they are costs recall. Fewer than 3 are too few to tell anything from.
    plan.density := case when not plan.by_item and plan.namespace_ids is null then 1
                    when cardinality(v_places) >= v_enough then v_enough / v_places[v_enough]::double precision
                    when cardinality(v_places) >= 3
                         then (cardinality(v_places) - 0.5 * sqrt(cardinality(v_places))) / plan.looked end;
    plan.difficulty := 0;
    while (plan.knobs -> 'edges' ->> plan.difficulty)::double precision < plan.tenth loop
        plan.difficulty := plan.difficulty + 1;
    end loop;
    return plan;
end;
$_look_around$;
revoke all on function kompanion._look_around(kompanion._search_plan, vector, text) from public;
comment on function kompanion._look_around(kompanion._search_plan, vector, text) is
    'Internal. How difficult a query is, and how dense its matches lie around it.';

create function kompanion._choose_knob(
    model_id      integer,
    knobs         jsonb,
    difficulty    integer,
    share         double precision,
    target_recall double precision,
    out knob         integer,
    out milliseconds double precision,
    out recall       double precision
)
    language plpgsql
    stable
    set search_path from current
as $_choose_knob$
-- Probes or ef_search that reach the target for queries of this difficulty where the matches have this share, with cost and
-- recall as measured; between two measured shares on a straight line in the logarithms. NULL where no knob is known to.
declare
    v_levels constant integer := jsonb_array_length(knobs -> 'edges') + 1;
    v_shares constant integer := jsonb_array_length(knobs -> 'shares');
    v_target integer := 0;
    v_far    integer := 0;
    v_near   integer;
    v_table  real[];
    v_weight double precision := 0;
    v_cell   integer;
begin
    -- Loops over a few numbers, not queries over sets: starting a query costs more than they do.
    while (knobs -> 'targets' ->> v_target)::double precision < target_recall loop
        v_target := v_target + 1;
    end loop;
    while (knobs -> 'shares' ->> v_far)::double precision > share loop
        v_far := v_far + 1;
    end loop;
    if share is null or v_far = v_shares then
        return;
    end if;
    v_near := greatest(v_far - 1, 0);
    if v_far > v_near then
        v_weight := ln((knobs -> 'shares' ->> v_near)::double precision / share)
                  / ln((knobs -> 'shares' ->> v_near)::double precision / (knobs -> 'shares' ->> v_far)::double precision);
    end if;
    v_cell := 3 * (v_target * v_levels + difficulty) * v_shares;
    v_near := v_cell + 3 * v_near;
    v_far := v_cell + 3 * v_far;
    select m.knob_table into v_table from embedding_models m where m.model_id = _choose_knob.model_id;
    if v_table[v_far + 1] is null then
        return;
    end if;
    knob := ceil(v_table[v_near + 1] ^ (1 - v_weight) * v_table[v_far + 1] ^ v_weight);
    milliseconds := v_table[v_near + 2] * (1 - v_weight) + v_table[v_far + 2] * v_weight;
    recall := least(v_table[v_near + 3], v_table[v_far + 3]);
end;
$_choose_knob$;
revoke all on function kompanion._choose_knob(integer, jsonb, integer, double precision, double precision) from public;
comment on function kompanion._choose_knob(integer, jsonb, integer, double precision, double precision) is
    'Internal. Probes or ef_search for a difficulty, share and target, from the calibration.';
