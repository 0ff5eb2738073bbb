-- depends: pg_0023_look_around
-- How a search will go: its scope resolved, its matches counted, exact or by index, with which probes.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._path_by_default(
    plan  kompanion._search_plan,
    query vector
)
    returns kompanion._search_plan
    language plpgsql
    stable
    set search_path from current
as $_path_by_default$
-- Exact or index before any calibration, on the safe side: a quarter of the lists gave recall@10 of 0.956 on 10,000 real
-- passages (100 lists, MiniLM), two fifths 0.98. Above the setting exact_threshold, where the index would visit more rows
-- than match, looking at those that match is cheaper all the same, and right wherever they lie.
declare
    v_share  double precision := case when plan.index_kind = 'hnsw' then 0.05 when plan.target_recall > 0.95 then 0.4 else 0.25 end;
    v_visits double precision;
begin
    if plan.half and not _fits_half(query, plan.dim) then
        plan.path := 'exact'; plan.reason := 'the query is too long or too short for the half precision of the index';
        return plan;
    end if;
    plan := _count_scope(plan, query, greatest(setting('exact_threshold')::integer, plan.k));
    if plan.matches <= plan.threshold then
        plan.path := 'exact'; plan.reason := 'matches are within the exact threshold';
        return plan;
    end if;
    if plan.by_item or plan.namespace_ids is not null then
        v_visits := ceil(v_share * plan.rows);
        if v_visits > plan.threshold then
            plan := _count_scope(plan, query, v_visits::integer);
            if plan.matches <= plan.threshold then
                plan.path := 'exact'; plan.reason := 'the index would visit more rows than match';
                return plan;
            end if;
        end if;
    end if;
    plan.path := 'index'; plan.reason := 'matches are above the exact threshold'; plan.nearest := null;
    plan.knob := case when plan.index_kind = 'hnsw' then least(1000, greatest(100, 4 * plan.k))
                 else least(plan.lists, greatest(10, ceil(plan.lists * v_share))) end;
    return plan;
end;
$_path_by_default$;
revoke all on function kompanion._path_by_default(kompanion._search_plan, vector) from public;
comment on function kompanion._path_by_default(kompanion._search_plan, vector) is 'Internal. Exact or index, without a calibration.';

create function kompanion._path_by_calibration(
    plan  kompanion._search_plan,
    query vector
)
    returns kompanion._search_plan
    language plpgsql
    stable
    set search_path from current
as $_path_by_calibration$
-- Exact or index by measured cost. What is counted, and how far, is never dearer than what it may save: vectors of a scope
-- as far as an index search could be cheaper than looking at them; matches of conditions on the item not at all.
declare
    v_row_us double precision := (plan.knobs ->> 'row_us')::double precision;
    v_choice record;
    v_rows   integer;
    v_lead   text;
    v_scan   record;
begin
    plan.path := 'exact';
    v_rows := greatest(plan.k, (plan.knobs ->> 'exact_rows')::integer);
    plan.threshold := v_rows;
    plan.reason := 'the scope is so small that looking at all of it costs less than the index';
    if plan.tags_all is not null or plan.tags_any is not null then
        v_lead := _rare_tags(plan.knobs, plan.tags_all, plan.tags_any);
        if v_lead is not null then
            plan.threshold := greatest(plan.k, (plan.knobs ->> 'rare_items')::integer);
            v_scan := _scan_tags(plan, query, plan.threshold + 1, 2 * plan.k, v_lead);
            if v_scan.matches <= plan.threshold then
                plan.matches := v_scan.matches; plan.nearest := v_scan.nearest;
                plan.reason := 'its tags are so rare that looking at all they are on costs less than the index';
                return plan;
            end if;
            plan.threshold := v_rows;
        end if;
    end if;
    if plan.namespace_ids is null then
        if (plan.knobs ->> 'rows')::bigint <= v_rows then
            return plan;
        end if;
    elsif plan.k < v_rows and plan.knobs -> 'large' ?| plan.namespace_ids[1:20]::text[] then
        null;  -- known to be large: not counted
    elsif plan.by_item then
        if not _more_than(plan.model_id, plan.namespace_ids, v_rows) then
            return plan;
        end if;
    else
        if cardinality(plan.namespace_ids) = 1 and (plan.knobs ->> 'large_complete')::boolean then
            plan.nearest := _nearest_of_one(plan, query, 2 * plan.k, v_rows);
        else
            plan.nearest := _nearest_exact(plan, query, 2 * plan.k, v_rows);
        end if;
        if plan.nearest is not null then
            return plan;
        end if;
    end if;
    plan.index_name := plan.index ->> 'name';
    plan.index_kind := plan.index ->> 'kind';
    plan.lists := plan.index ->> 'lists';
    plan.half := plan.index ->> 'half';
    if plan.half and not _fits_half(query, plan.dim) then
        plan.reason := 'the query is too long or too short for the half precision of the index';
        return plan;
    end if;
    plan.iterative := nullif((plan.index ->> 'iterative')::boolean, false);

    plan := _look_around(plan, query);
    v_choice := _choose_knob(plan.knobs, plan.knob_table, plan.difficulty, plan.density * 10 / plan.k, plan.target_recall);
    plan.recall := v_choice.recall;
    if plan.unlearned is not true and v_choice.knob <= plan.knob and cardinality(plan.nearest) >= plan.k + (case when plan.half then plan.k / 2 + 10 else 0 end) then
        plan.path := 'index'; plan.reason := 'what a look around has seen is enough';
        return plan;
    end if;
    plan.nearest := null;
    if v_choice.knob is null then
        plan.reason := case when plan.density is null then 'hardly a match lies near the query' else 'no measured setting of the index reaches the target here' end;
        if plan.by_item then
            -- Through the items' own indexes while that is cheaper than going through the vectors of the scope.
            v_rows := case when plan.namespace_ids is null then (plan.knobs ->> 'rows')::integer
                      else _count_vectors(plan.model_id, plan.namespace_ids, 1000000) end;
            v_rows := ceil(v_rows * v_row_us / (plan.knobs ->> 'item_us')::double precision);
            plan := _count_scope(plan, query, v_rows);
            plan.by_row := plan.matches > plan.threshold;
            if plan.by_row then
                plan.nearest := null;  -- of those that were counted, not of all
            end if;
        end if;
        return plan;
    end if;
    if not plan.by_item and v_choice.milliseconds * 1000 / v_row_us > plan.threshold then
        plan.threshold := least(v_choice.milliseconds * 1000 / v_row_us, 2147483647);
        if (plan.namespace_ids is null and (plan.knobs ->> 'rows')::bigint <= plan.threshold)
           or (plan.namespace_ids is not null and not _more_than(plan.model_id, plan.namespace_ids, plan.threshold)) then
            plan.reason := 'looking at all matches costs less than the index';
            return plan;
        end if;
    end if;
    plan.path := 'index';
    plan.reason := case when plan.by_item then 'the index reaches the target here' else 'the index costs less than looking at all matches' end
                || case when plan.unlearned then '; those that came after it was built are all looked at' else '' end;
    plan.knob := v_choice.knob;
    return plan;
end;
$_path_by_calibration$;
revoke all on function kompanion._path_by_calibration(kompanion._search_plan, vector) from public;
comment on function kompanion._path_by_calibration(kompanion._search_plan, vector) is 'Internal. Exact or index, by what calibrate measured.';

create function kompanion._plan_search(
    scope         text,
    query         vector,
    model         text,
    k             integer,
    thread        text,
    tags_any      text[],
    tags_all      text[],
    tags_none     text[],
    filter        jsonb,
    target_recall double precision
)
    returns kompanion._search_plan
    language plpgsql
    stable
    set search_path from current
as $_plan_search$
-- Resolves names to ids and chooses the path: exact, which has recall 1, or the model's index where that costs less.
declare
    p            _search_plan;
    v_calibrated boolean;
    v_everything boolean;
begin
    if k is null or k not between 1 and 10000 then
        raise exception using
            errcode = 'KM007',
            message = format('k: %s is not between 1 and 10000', coalesce(k::text, 'NULL')),
            hint    = 'To go through a whole scope, use list_items.';
    elsif target_recall not between 0.01 and 1 then
        raise exception using
            errcode = 'KM007',
            message = format('target_recall: %s is not between 0.01 and 1', target_recall),
            hint    = 'Give the share of the true nearest that must be found; 1 asks for an exact search.';
    end if;
    -- All that is known beforehand in one statement. A calibration holds for the very index it was made on: then there is
    -- no need to ask the catalog what that is.
    select m.model_id, m.name, m.dim, m.metric, coalesce(_plan_search.target_recall, t.value::double precision), m.knobs, m.knob_table, m.knobs -> 'index',
           x.indisvalid is true and not exists (select from pg_index y where y.indexrelid = to_regclass('kompanion.embeddings_ann_' || m.model_id || '_new') and y.indisvalid),
           case m.knobs #>> '{index,kind}' when 'ivfflat' then m.index_chunk end, scope = '*' and not exists (select 1 from namespaces n where n.deleted_at is not null)
    into p.model_id, p.model, p.dim, p.metric, p.target_recall, p.knobs, p.knob_table, p.index, v_calibrated, p.learned, v_everything
    from embedding_models m
    cross join settings t
    -- Name and oid: in a restored database the oid may be that of any other index.
    left join pg_index x on x.indexrelid = (m.knobs #>> '{index,oid}')::oid
                        and x.indexrelid = to_regclass('kompanion.' || quote_ident(m.knobs #>> '{index,name}'))
    where m.retired_at is null and case when _plan_search.model is null then m.is_default else m.name = _plan_search.model end
      and t.name = 'target_recall';
    if not found then
        perform _model(model), setting('target_recall');  -- either is not there: a restore that broke off leaves no settings
    end if;
    if query is null or vector_dims(query) <> p.dim or vector_norm(query) not between 1e-15 and 1e15 then
        perform _check_vector('query', query, p.dim, p.metric);
    end if;
    p.k := k;
    if v_everything is not true then  -- else it would say so too, in a second statement; NULL is no scope
        p.namespace_ids := _scope_ids(scope);
    end if;
    p.tags_any := tags_any; p.tags_all := tags_all; p.tags_none := tags_none;
    if filter is not null then
        p.filter := compile_filter(_plan_search.filter);
        select h.number_key, h.number_low, h.number_high, h.text_key, h.text_low, h.text_high
        into p.number_key, p.number_low, p.number_high, p.text_key, p.text_low, p.text_high
        from _indexed_ranges(_plan_search.filter) h;
    end if;
    if thread is not null then
        p.thread_ids := array(select t.thread_id from threads t
                              where t.key = _plan_search.thread
                                and (p.namespace_ids is null or t.namespace_id = any (p.namespace_ids)));
    end if;
    p.by_item := num_nonnulls(p.thread_ids, tags_any, tags_all, tags_none, p.filter) > 0;
    if p.target_recall >= 1 or v_calibrated and p.target_recall > (p.knobs -> 'targets' ->> -1)::double precision then
        p.path := 'exact';
        p.reason := case when p.target_recall >= 1 then 'target_recall 1 asks for it' else 'no setting of the index was measured to reach such a target' end;
        return p;
    elsif not v_calibrated then
        p.knobs := null;
        select x.name, x.kind, x.lists, x.half, x.rows, nullif((x.index ->> 'iterative')::boolean, false)
        into p.index_name, p.index_kind, p.lists, p.half, p.rows, p.iterative
        from _vector_index(p.model_id) x where x.valid;
        if p.index_name is null or _has_rival_index(p.model_id) then
            p.path := 'exact';
            p.reason := case when p.index_name is null then 'the model has no vector index' else 'the model has two vector indexes, and PostgreSQL might take the wrong one: index_advice tells which to drop' end;
            return p;
        end if;
        return _path_by_default(p, query);
    end if;
    return _path_by_calibration(p, query);
end;
$_plan_search$;
revoke all on function kompanion._plan_search(text, vector, text, integer, text, text[], text[], text[], jsonb, double precision) from public;
comment on function kompanion._plan_search(text, vector, text, integer, text, text[], text[], text[], jsonb, double precision) is
    'Internal. Makes a search ready: validates, resolves, counts, chooses exact or index.';
