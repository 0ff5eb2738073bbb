-- depends: pg_0021_index_search
-- What calibrate measured, put to use: a look around the query tells how far a search must go.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._known_share(
    plan kompanion._search_plan
)
    returns double precision
    language plpgsql
    immutable
    set search_path from current
as $_known_share$
-- The share of all rows that a search is about, as known from the calibration: of its namespaces, those that were large, and
-- of its tags, if they do not depend on each other. NULL where that tells nothing, as of a thread or a filter.
declare
    v_share double precision := 0;
    v_id    uuid;
    v_tag   text;
begin
    if plan.thread_ids is not null or plan.tags_any is not null or plan.tags_none is not null or plan.filter is not null
       or cardinality(plan.namespace_ids) > 20 then
        return null;
    elsif plan.namespace_ids is null then
        v_share := 1;
    else
        foreach v_id in array plan.namespace_ids loop
            v_share := v_share + coalesce((plan.knobs -> 'large' ->> v_id::text)::double precision, 0);
        end loop;
    end if;
    if plan.tags_all is not null then
        foreach v_tag in array plan.tags_all loop
            v_share := v_share * coalesce((plan.knobs -> 'common_tags' ->> v_tag)::double precision, 0);
        end loop;
    end if;
    return nullif(least(v_share, 1), 0);
end;
$_known_share$;
revoke all on function kompanion._known_share(kompanion._search_plan) from public;
comment on function kompanion._known_share(kompanion._search_plan) is 'Internal. The share of all rows that a search is about, as known from the calibration.';

create function kompanion._common_tags(
    more_than integer
)
    returns jsonb
    language plpgsql
    stable
    set search_path from current
as $_common_tags$
-- The tags on more items than that, each with the share of items it is on, by what ANALYZE last saw. NULL when that tells
-- nothing: it remembers a thousand tags, and where even the rarest of those is on more, so may be others. Nor under row
-- security, as every reader sees what is kept of a calibration.
begin
    return (
        select case when min(f.share) * c.reltuples <= more_than or count(*) < 100
               then coalesce(jsonb_object_agg(f.tag, f.share) filter (where f.share * c.reltuples > more_than), '{}') end
        from pg_stats s
        join pg_class c on c.oid = to_regclass('kompanion.memory_items')
        cross join unnest(s.most_common_elems::text::text[], s.most_common_elem_freqs) f (tag, share)
        where s.schemaname = 'kompanion' and s.tablename = 'memory_items' and s.attname = 'tags' and f.tag is not null and not c.relrowsecurity
        group by c.reltuples);
end;
$_common_tags$;
revoke all on function kompanion._common_tags(integer) from public;
comment on function kompanion._common_tags(integer) is 'Internal. The tags on more items than that, by the statistics.';

create function kompanion._look_around(
    plan  kompanion._search_plan,
    query vector,
    extra text default null
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
    v_knob    constant text := case plan.index_kind when 'hnsw' then 'hnsw.ef_search' else 'ivfflat.probes' end;
    v_scan    constant text := plan.index_kind || '.iterative_scan';
    v_former  constant text[] := array[current_setting(v_knob, true), current_setting(v_scan, true)];
    v_enough  constant integer := greatest(plan.k, 5);
    v_seen    double precision;
    v_among   double precision;
    v_less    double precision;
    v_share   double precision;
    v_gone    boolean;
    v_look    constant integer := plan.knobs ->> 'look';
    v_all     constant boolean := not plan.by_item and plan.namespace_ids is null;  -- how dense everything lies is known
    -- So many chunks, for k items: all of them where an item has one chunk, twice those that repeat an item to be on the safe side.
    -- And in half precision a few more to choose from, as _index_statement takes.
    v_rows    constant integer := ceil(plan.k * (2 * coalesce((plan.knobs ->> 'repeats')::double precision, 1.5) - 1)
                                       * case when plan.half then 1.5 else 1 end + case when plan.half then 10 else 0 end);
    v_n       constant integer := case when plan.index_kind = 'hnsw' then v_look
                                  when v_all then greatest(10, v_rows)
                                  else least(1000, greatest(100, 10 * plan.k)) end;
    v_most    constant integer := 1 + greatest(10, v_rows, v_enough);  -- matches, or one less and the tenth of all
    v_sight   _sight;
    v_set     text;
begin
    plan.knob := v_look;
    -- Assignments, not queries: setting these in a SELECT takes longer than the look itself may.
    v_set := set_config(v_knob, v_look::text, true);
    if plan.iterative then
        v_set := set_config(v_scan, 'off', true);
    end if;
    if extra is null and v_all then  -- all it sees matches
        v_sight.nearest := _model_nearest(query, v_n, null, null, null, null, null, null, plan.model_id, plan.half);
        v_sight.looked := cardinality(v_sight.nearest);
        v_sight.tenth := v_sight.nearest[least(10, v_sight.looked)].distance;
    elsif extra is null then
        v_sight := _model_look(query, v_n, plan.namespace_ids, plan.thread_ids, plan.tags_any, plan.tags_all, plan.tags_none, plan.filter,
                               v_most, plan.model_id, plan.half);
    end if;
    if v_sight.looked is null then
        execute _look_statement(plan, coalesce(extra, 'true')) into v_sight
        using query, v_n, plan.namespace_ids, plan.thread_ids, plan.tags_any, plan.tags_all, plan.tags_none, plan.filter, v_most;
    end if;
    v_set := set_config(v_knob, v_former[1], true);
    if plan.iterative then
        v_set := set_config(v_scan, v_former[2], true);
    end if;

    -- How dense the matches lie, the place of the last of k tells (one less of both: J. B. S. Haldane, On a method of estimating
    -- frequencies, Biometrika 33, 1945); where fewer are in sight their number does, less half its standard error, since to think
    -- them denser than they are costs recall. Fewer than 3 are too few to tell anything from.
    plan.nearest := v_sight.nearest; plan.looked := v_sight.looked;
    -- Next to nothing alive where there should be a list full of it: its neighbours are gone, or hidden from this role. What it
    -- sees then tells nothing of where the others are, and it is not to be taken for easy.
    v_gone := coalesce(plan.looked, 0) < 10
              and coalesce(plan.looked, 0) < coalesce(0.25 * (plan.knobs ->> 'rows')::double precision / plan.lists, 10);
    if not v_gone or v_gone is null then
        -- A longer query has greater products with everything, and is not the easier for it.
        plan.tenth := v_sight.tenth / case when plan.metric = 'inner_product' then nullif(vector_norm(query), 0) else 1 end;
    end if;
    v_seen := least(coalesce(cardinality(v_sight.places), 0), v_enough);
    v_among := plan.looked;
    v_less := 0.5;
    if v_seen = v_enough then
        v_seen := v_enough - 1;
        v_less := 0;
        v_among := greatest(v_sight.places[v_enough], v_enough) - 1;  -- of equally near ones the order is not that of the places
    end if;
    if v_all then
        plan.density := case when v_gone then null else 1 end;
    elsif v_seen >= 3 then
        -- Where this is what chance would give, were the matches strewn over all rows, the share of all counts three times as
        -- much as what is seen here: it is known better than so few can tell.
        v_share := case when v_among > 3 * v_seen then _known_share(plan) end;  -- denser, it makes no difference
        if abs(v_seen - v_share * v_among) <= 2 * sqrt(v_share * (1 - v_share) * v_among) then
            v_seen := v_seen + 3 * v_share * plan.looked;
            v_among := v_among + 3 * plan.looked;
            v_less := 0;
        end if;
        plan.density := (v_seen - v_less * sqrt(v_seen)) / v_among;
    end if;
    plan.difficulty := 0;
    while (plan.knobs -> 'edges' ->> plan.difficulty)::double precision < coalesce(plan.tenth, 'infinity') loop
        plan.difficulty := plan.difficulty + 1;
    end loop;
    return plan;
end;
$_look_around$;
revoke all on function kompanion._look_around(kompanion._search_plan, vector, text) from public;
comment on function kompanion._look_around(kompanion._search_plan, vector, text) is
    'Internal. How difficult a query is, and how dense its matches lie around it.';

create function kompanion._choose_knob(
    knobs         jsonb,
    knob_table    real[],
    difficulty    integer,
    share         double precision,
    target_recall double precision,
    out knob         integer,
    out milliseconds double precision,
    out recall       double precision
)
    language plpgsql
    immutable
    set search_path from current
as $_choose_knob$
-- Probes or ef_search that reach the target for queries of this difficulty where the matches have this share, with cost and
-- recall as measured; between two measured shares on a straight line in the logarithms. Where nothing reaches it at the smaller
-- of them, what does at the larger one holds for a share a little below with as many more probes, which meet as many matches:
-- else a share of a tenth would be searched exactly as often as it is taken for a little less. NULL where no knob is known to.
declare
    v_levels constant integer := jsonb_array_length(knobs -> 'edges') + 1;
    v_shares constant integer := jsonb_array_length(knobs -> 'shares');
    v_target integer := 0;
    v_far    integer := 0;
    v_near   integer;
    v_weight double precision := 0;
    v_more   double precision;
    v_cell   integer;
begin
    -- Loops over a few numbers, not queries over sets: starting a query costs more than they do.
    while (knobs -> 'targets' ->> v_target)::double precision < target_recall loop
        v_target := v_target + 1;
    end loop;
    while (knobs -> 'shares' ->> v_far)::double precision > share loop
        v_far := v_far + 1;
    end loop;
    v_near := greatest(v_far - 1, 0);
    v_cell := 3 * (v_target * v_levels + difficulty) * v_shares;
    if share is null then
        return;
    elsif v_far = v_shares or knob_table[v_cell + 3 * v_far + 1] is null then
        v_more := (knobs -> 'shares' ->> v_near)::double precision / share;
        v_cell := v_cell + 3 * v_near;
        if v_more between 1 and 1.4 and knob_table[v_cell + 1] is not null then
            knob := least(ceil(knob_table[v_cell + 1] * v_more), case knobs -> 'index' ->> 'kind' when 'hnsw' then 1000 else 32768 end);
            milliseconds := knob_table[v_cell + 2] * v_more;
            recall := knob_table[v_cell + 3];
        end if;
        return;
    end if;
    if v_far > v_near then
        v_weight := ln((knobs -> 'shares' ->> v_near)::double precision / share)
                  / ln((knobs -> 'shares' ->> v_near)::double precision / (knobs -> 'shares' ->> v_far)::double precision);
    end if;
    v_near := v_cell + 3 * v_near;
    v_far := v_cell + 3 * v_far;
    knob := ceil(knob_table[v_near + 1] ^ (1 - v_weight) * knob_table[v_far + 1] ^ v_weight);
    milliseconds := knob_table[v_near + 2] ^ (1 - v_weight) * knob_table[v_far + 2] ^ v_weight;  -- it grows as the knob does
    recall := least(knob_table[v_near + 3], knob_table[v_far + 3]);
end;
$_choose_knob$;
revoke all on function kompanion._choose_knob(jsonb, real[], integer, double precision, double precision) from public;
comment on function kompanion._choose_knob(jsonb, real[], integer, double precision, double precision) is
    'Internal. Probes or ef_search for a difficulty, share and target, from the calibration.';
