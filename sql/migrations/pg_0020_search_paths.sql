-- depends: pg_0019_matches
-- The two ways to the nearest: all of a scope exactly, or the model's vector index.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._nearest_exact(
    plan  kompanion._search_plan,
    query vector,
    n     integer,
    bound integer default null
)
    returns kompanion._search_hit[]
    language plpgsql
    stable
    set search_path from current
    set plan_cache_mode = force_generic_plan  -- one cached plan, by embeddings_pk: planning would cost more than most scopes
    set enable_seqscan = off
    set enable_bitmapscan = off
    set enable_sort = off
    set jit = off  -- a scan of many vectors looks dear to the planner, and compiling it makes it no faster
as $_nearest_exact$
-- The n nearest vectors of a scope by looking at all of them; NULL, and none is looked at, where there are more than bound.
-- A CASE keeps the planner off the vector index, as "+ 0" would. What is asked of every row is in variables, quicker to read.
declare
    v_cosine constant boolean := plan.metric = 'cosine';
    v_l2     constant boolean := plan.metric = 'l2';
    v_model  constant integer := plan.model_id;
    v_ids    constant uuid[]  := plan.namespace_ids;
begin
    if v_ids is null then
        return array(
            select (h.namespace_id, h.item_id, h.chunk_id, h.d)::_search_hit
            from (
                select e.namespace_id, e.item_id, e.chunk_id,
                       case when v_cosine then e.vector <=> query when v_l2 then e.vector <-> query else e.vector <#> query end as d
                from embeddings e
                where e.model_id = v_model and is_live(e.deleted_at, e.expires_at)
                order by d, e.chunk_id
                limit n) h);
    end if;
    return (
        select array(
            select (h.namespace_id, h.item_id, h.chunk_id, h.d)::_search_hit
            from (
                select e.namespace_id, e.item_id, e.chunk_id,
                       case when v_cosine then e.vector <=> query when v_l2 then e.vector <-> query else e.vector <#> query end as d
                from unnest(v_ids) s (id)
                cross join lateral (
                    -- In the order of the key, which is mostly that of the heap: in random order the same rows take a third longer.
                    select e.namespace_id, e.item_id, e.chunk_id, e.vector
                    from embeddings e
                    where e.namespace_id = s.id and e.model_id = v_model and is_live(e.deleted_at, e.expires_at)
                    order by e.chunk_id
                    offset 0) e  -- a fence: one index scan a namespace
                order by d, e.chunk_id
                limit n) h)
        -- As _more_than, in the same statement: calling it would cost as much again where a scope is small.
        where bound is null
           or not exists (select 1 from embeddings e where e.namespace_id = any (v_ids) and e.model_id = v_model offset bound));
end;
$_nearest_exact$;
revoke all on function kompanion._nearest_exact(kompanion._search_plan, vector, integer, integer) from public;
comment on function kompanion._nearest_exact(kompanion._search_plan, vector, integer, integer) is
    'Internal. The n nearest vectors of a scope, exactly; NULL when there are more than bound.';

create function kompanion._conditions(
    plan kompanion._search_plan
)
    returns text
    language plpgsql
    stable
    set search_path from current
as $_conditions$
-- What a vector must meet to be an answer, as a condition on the row e of embeddings; $2 is the plan. Metadata is asked
-- for in a scalar subquery: a join would be planned first and defeat the index.
begin
    if not plan.by_item and plan.namespace_ids is null then
        return 'kompanion.is_live(e.deleted_at, e.expires_at)';  -- most searches, and the rest takes a tenth of a millisecond
    end if;
    return concat('kompanion.is_live(e.deleted_at, e.expires_at)',
        case when plan.namespace_ids is not null then ' and e.namespace_id = any (($2).namespace_ids)' end,
        case when plan.thread_ids is not null then ' and e.thread_id = any (($2).thread_ids)' end,
        case when plan.tags_any is not null then ' and e.tags && ($2).tags_any' end,
        case when plan.tags_all is not null then ' and e.tags @> ($2).tags_all' end,
        case when plan.tags_none is not null then ' and not e.tags && ($2).tags_none' end,
        case when plan.filter is not null then
            ' and (select i.metadata @@ ($2).filter from kompanion.memory_items i '
            'where i.namespace_id = e.namespace_id and i.item_id = e.item_id)' end);
end;
$_conditions$;
revoke all on function kompanion._conditions(kompanion._search_plan) from public;
comment on function kompanion._conditions(kompanion._search_plan) is 'Internal. The conditions of a search as SQL on a row of embeddings.';

create function kompanion._index_scan(
    plan    kompanion._search_plan,
    columns text,
    extra   text default 'true',
    source  text default 'kompanion.embeddings'
)
    returns text
    language plpgsql
    stable
    set search_path from current
as $_index_scan$
-- A scan of the model's index in order of nearness, to be limited: $1 is the query. One table, order by the bare operator, model
-- and dimension as literals, or the partial index is not used. d is the exact distance, also where the order is of half precision.
declare
    v_operator text := case plan.metric when 'cosine' then '<=>' when 'l2' then '<->' else '<#>' end;
begin
    return format('select %1$s, (e.vector::vector(%2$s)) %3$s $1::vector(%2$s) as d from %4$s e where e.model_id = %5$s and %6$s '
                  'order by (e.vector::%7$s(%2$s)) %3$s $1::%7$s(%2$s)',
                  columns, plan.dim, v_operator, source, plan.model_id, extra, case when plan.half then 'halfvec' else 'vector' end);
end;
$_index_scan$;
revoke all on function kompanion._index_scan(kompanion._search_plan, text, text, text) from public;
comment on function kompanion._index_scan(kompanion._search_plan, text, text, text) is 'Internal. A scan of the vector index of a model, as SQL.';

create function kompanion._index_statement(
    plan   kompanion._search_plan,
    extra  text default 'true',
    source text default 'kompanion.embeddings'
)
    returns text
    language plpgsql
    stable
    set search_path from current
as $_index_statement$
-- The statement of the index path, $1 the query, $2 the plan, $3 how many. Sorted again, by "d + 0" since the planner takes "d"
-- for sorted: relaxed order and half precision are not; half precision also hands over a few more to choose from.
begin
    return format('select (s.namespace_id, s.item_id, s.chunk_id, s.d)::kompanion._search_hit from (%s limit %s) s order by s.d + 0, s.chunk_id%s',
                  _index_scan(plan, 'e.namespace_id, e.item_id, e.chunk_id', _conditions(plan) || ' and ' || extra, source),
                  case when plan.half then '$3 + $3 / 2 + 10' else '$3' end, case when plan.half then ' limit $3' end);
end;
$_index_statement$;
revoke all on function kompanion._index_statement(kompanion._search_plan, text, text) from public;
comment on function kompanion._index_statement(kompanion._search_plan, text, text) is 'Internal. The statement of the index path of a search.';

create function kompanion._nearest_by_row(
    plan  kompanion._search_plan,
    query vector,
    n     integer
)
    returns kompanion._search_hit[]
    language plpgsql
    stable
    set search_path from current
    set enable_seqscan = on  -- search sets it off
    set jit = off
as $_nearest_by_row$
-- The n nearest that meet conditions on the item, by looking at every vector of the scope: for conditions that many meet.
declare
    v_hits _search_hit[];
begin
    -- "+ 0" keeps the planner off the vector index.
    execute format('select array(select (s.namespace_id, s.item_id, s.chunk_id, s.d)::kompanion._search_hit from ('
                   'select e.namespace_id, e.item_id, e.chunk_id, (e.vector %s $1) + 0 as d from kompanion.embeddings e '
                   'where e.model_id = %s and %s order by d, e.chunk_id limit $3) s)',
                   case plan.metric when 'cosine' then '<=>' when 'l2' then '<->' else '<#>' end, plan.model_id, _conditions(plan))
    into v_hits using query, plan, n;
    return v_hits;
end;
$_nearest_by_row$;
revoke all on function kompanion._nearest_by_row(kompanion._search_plan, vector, integer) from public;
comment on function kompanion._nearest_by_row(kompanion._search_plan, vector, integer) is
    'Internal. The n nearest that meet conditions on the item, by looking at every vector of the scope.';

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

create function kompanion._nearest_by_index(
    plan  kompanion._search_plan,
    query vector,
    n     integer
)
    returns kompanion._search_hit[]
    language plpgsql
    stable
    set search_path from current
    set enable_sort = off
    set enable_seqscan = off
    set enable_bitmapscan = off
    set jit = off
as $_nearest_by_index$
-- About the n nearest vectors by the model's index, re-sorted, since an iterative scan may give them out of order. A SET of
-- the function would fail for pgvector's settings, for plain roles before its library is loaded.
declare
    v_knob   constant text := case plan.index_kind when 'hnsw' then 'hnsw.ef_search' else 'ivfflat.probes' end;
    v_scan   constant text := plan.index_kind || '.iterative_scan';
    v_former constant text[] := array[current_setting(v_knob, true), current_setting(v_scan, true)];
    v_set    text;
    v_hits   _search_hit[];
begin
    v_set := set_config(v_knob, case plan.index_kind when 'hnsw' then least(1000, greatest(plan.knob, n)) else plan.knob end::text, true);
    if plan.iterative then
        v_set := set_config(v_scan, 'relaxed_order', true);
    end if;
    execute 'select array((' || _index_statement(plan) || '))' into v_hits using query, plan, n;
    v_set := set_config(v_knob, v_former[1], true);
    if plan.iterative then
        v_set := set_config(v_scan, v_former[2], true);
    end if;
    return v_hits;
end;
$_nearest_by_index$;
revoke all on function kompanion._nearest_by_index(kompanion._search_plan, vector, integer) from public;
comment on function kompanion._nearest_by_index(kompanion._search_plan, vector, integer) is
    'Internal. About the n nearest vectors of a scope, by the vector index of the model.';
