-- depends: pg_0022_known
-- What calibrate measured, put to use: a look around the query tells how far a search must go.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._is_strewn(
    plan  kompanion._search_plan,
    query vector
)
    returns boolean
    language plpgsql
    stable
    set search_path from current
as $_is_strewn$
-- Whether what lies near a query is strewn over many lists: eight times as many as were looked at hold nearer matches, at least two
-- of ten, as for 98 % of the queries about topics newer than the index, and 10 % of those about others (72,000 generated x 96).
declare
    v_hits _search_hit[];
begin
    plan.knob := least(plan.lists, 8 * plan.knob);
    plan.iterative := null;
    v_hits := _nearest_by_index(plan, query, greatest(plan.k, 5));
    return (select 10 * count(*) < 9 * cardinality(v_hits)
            from unnest(v_hits) h
            where exists (select 1 from unnest(plan.nearest[:cardinality(v_hits)]) n where n.namespace_id = h.namespace_id and n.chunk_id = h.chunk_id));
end;
$_is_strewn$;
revoke all on function kompanion._is_strewn(kompanion._search_plan, vector) from public;
comment on function kompanion._is_strewn(kompanion._search_plan, vector) is 'Internal. Whether what lies near a query is strewn over many lists of the index.';

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
-- far a search must go: how dense its matches are around it, as a scope of a tenth of all rows may hold all neighbours of one
-- query and none of another's, and how difficult the query is (how far its matches in sight reach, against the calibration).
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
                                  when v_all then greatest(10, v_rows) + 1  -- one more, for measure_recall
                                  else least(1000, greatest((plan.knobs ->> 'look_rows')::integer, 10 * plan.k)) end;
    v_most    constant integer := 1 + greatest(10, v_rows, v_enough);  -- matches, or one less and the tenth of all
    v_length  constant double precision := case when plan.metric = 'inner_product' then nullif(vector_norm(query), 0) else 1 end;
    v_reach   double precision;
    v_sight   _sight;
    v_later   integer := 0;
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
        plan.tenth := v_sight.tenth / v_length;
        v_reach := v_sight.nearest[greatest(10, plan.k)].distance / v_length;
    end if;
    -- Where several of the nearest came after the index was built they may be about a topic that none of its lists is.
    if plan.learned is not null and extra is null then
        for i in 1 .. least(5, coalesce(cardinality(plan.nearest), 0)) loop
            v_later := v_later + (plan.nearest[i].chunk_id > plan.learned)::integer;
        end loop;
        plan.unlearned := v_later >= 2 and _is_strewn(plan, query);
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
    plan.difficulty := _difficulty(plan.knobs, plan.density * 10 / plan.k, plan.tenth, v_reach);
    return plan;
end;
$_look_around$;
revoke all on function kompanion._look_around(kompanion._search_plan, vector, text) from public;
comment on function kompanion._look_around(kompanion._search_plan, vector, text) is
    'Internal. How difficult a query is, and how dense its matches lie around it.';

create function kompanion._apply_settings(
    names  text[],
    settings text[]
)
    returns text[]
    language plpgsql
    volatile
    set search_path from current
as $_apply_settings$
-- Sets session settings for the transaction and returns what they were, to be handed back the same way; NULL is the default.
-- A function-level SET of ivfflat.* would fail for plain roles before the library is loaded.
declare
    v_former text[] := array(select current_setting(n, true) from unnest(names) n);
begin
    perform set_config(s.name, s.value, true) from unnest(names, settings) s (name, value);
    return v_former;
end;
$_apply_settings$;
revoke all on function kompanion._apply_settings(text[], text[]) from public;
comment on function kompanion._apply_settings(text[], text[]) is 'Internal. Sets session settings for the transaction; returns the former ones.';

create function kompanion._index_settings(
    plan kompanion._search_plan,
    n    integer,
    out names  text[],
    out settings text[]
)
    language plpgsql
    immutable
    set search_path from current
as $_index_settings$
-- What the session must be set to for the index path: the knob, and the planner kept from sorting all of a large scope.
begin
    names := array['enable_sort', 'enable_seqscan', 'enable_bitmapscan', 'jit',
                   case plan.index_kind when 'hnsw' then 'hnsw.ef_search' else 'ivfflat.probes' end];
    settings := array['off', 'off', 'off', 'off',
                    case plan.index_kind when 'hnsw' then least(1000, greatest(plan.knob, n)) else plan.knob end::text];
    if plan.iterative is not null then
        names := names || (plan.index_kind || '.iterative_scan');
        settings := settings || case when plan.iterative then 'relaxed_order' else 'off' end;
    end if;
end;
$_index_settings$;
revoke all on function kompanion._index_settings(kompanion._search_plan, integer) from public;
comment on function kompanion._index_settings(kompanion._search_plan, integer) is 'Internal. Session settings of the index path.';

create function kompanion._look_reaches(
    plan    kompanion._search_plan,
    query   vector,
    but_for bigint,
    parts   integer[]
)
    returns double precision[]
    language plpgsql
    volatile
    set search_path from current
as $_look_reaches$
-- What a look around would see of matches strewn at random: how far the tenth live neighbour lies among the rows whose hash falls
-- into so many of 1024, for each part; NULL where fewer are in sight, but of all rows then the last.
declare
    v_names   text[];
    v_former  text[];
    v_reaches double precision[];
begin
    plan.knob := plan.knobs ->> 'look';
    plan.iterative := case when plan.iterative is not null then false end;  -- NULL where there is no such thing
    select x.names, _apply_settings(x.names, x.settings) into v_names, v_former from _index_settings(plan, 1) x;
    execute format('with seen as materialized (%s limit %s) select array(select coalesce('
                   '(select s.d from seen s where s.h < p.part order by s.d + 0 offset 9 limit 1), case p.part when 1024 then (select max(s.d) from seen s) end) '
                   '/ $3 from unnest($2) with ordinality p (part, n) order by p.n)',
                   _index_scan(plan, 'hashint8(e.chunk_id) & 1023 as h, ', format('e.chunk_id <> %s and kompanion.is_live(e.deleted_at, e.expires_at)', but_for)),
                   (plan.knobs ->> 'look_rows')::integer)  -- a number: who may write a calibration is not who runs calibrate
    into v_reaches using query, parts, case when plan.metric = 'inner_product' then nullif(vector_norm(query), 0) else 1 end;
    perform _apply_settings(v_names, v_former);
    return v_reaches;
end;
$_look_reaches$;
revoke all on function kompanion._look_reaches(kompanion._search_plan, vector, bigint, integer[]) from public;
comment on function kompanion._look_reaches(kompanion._search_plan, vector, bigint, integer[]) is
    'Internal. How far the tenth match in sight lies, were matches strewn at random, for several shares.';
