-- depends: pg_0020_search_plan
-- The two ways to the nearest: all of a scope exactly, or the model's vector index.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._nearest_exact(
    plan  kompanion._search_plan,
    query vector,
    n     integer
)
    returns table (namespace_id uuid, item_id uuid, chunk_id bigint, distance double precision)
    language plpgsql
    stable
    set search_path from current
    set plan_cache_mode = force_generic_plan  -- one cached plan, by embeddings_scope_ix: planning would cost more than most scopes
    set enable_seqscan = off
as $_nearest_exact$
-- The n nearest vectors of a scope by looking at all of them.
-- A CASE is no indexable expression: it keeps the planner off the vector index, as "+ 0" would.
begin
    if plan.namespace_ids is null then
        return query
        select e.namespace_id, e.item_id, e.chunk_id,
               case plan.metric when 'cosine' then e.vector <=> query when 'l2' then e.vector <-> query else e.vector <#> query end as d
        from embeddings e
        where e.model_id = plan.model_id and is_live(e.deleted_at, e.expires_at)
        order by d, e.chunk_id
        limit n;
    else
        return query
        select e.namespace_id, e.item_id, e.chunk_id,
               case plan.metric when 'cosine' then e.vector <=> query when 'l2' then e.vector <-> query else e.vector <#> query end as d
        from unnest(plan.namespace_ids) s (id)
        cross join lateral (
            select * from embeddings e
            where e.namespace_id = s.id and e.model_id = plan.model_id and is_live(e.deleted_at, e.expires_at)
            offset 0) e  -- a fence: one index scan a namespace
        order by d, e.chunk_id
        limit n;
    end if;
end;
$_nearest_exact$;
revoke all on function kompanion._nearest_exact(kompanion._search_plan, vector, integer) from public;
comment on function kompanion._nearest_exact(kompanion._search_plan, vector, integer) is
    'Internal. The n nearest vectors of a scope, exactly.';

create function kompanion._index_statement(
    plan kompanion._search_plan
)
    returns text
    language plpgsql
    stable
    set search_path from current
as $_index_statement$
-- The statement of the index path, $1 the query, $2 the plan, $3 how many. One table, order by the bare operator, and
-- model and dimension as literals, or the partial index is not used. Metadata is asked for in a scalar subquery: a join
-- would be planned first and defeat the index. Sorted again by "d + 0": the planner takes the index to give order, and
-- would not sort by "d", but an iterative scan in relaxed order gives it only nearly.
declare
    v_operator text := case plan.metric when 'cosine' then '<=>' when 'l2' then '<->' else '<#>' end;
begin
    return format(
        'select s.* from (select e.namespace_id, e.item_id, e.chunk_id, (e.vector::vector(%1$s)) %2$s $1::vector(%1$s) as d '
        'from kompanion.embeddings e where e.model_id = %3$s and kompanion.is_live(e.deleted_at, e.expires_at)%4$s%5$s%6$s%7$s%8$s%9$s '
        'order by (e.vector::vector(%1$s)) %2$s $1::vector(%1$s) limit $3) s order by s.d + 0, s.chunk_id',
        plan.dim, v_operator, plan.model_id,
        case when plan.namespace_ids is not null then ' and e.namespace_id = any (($2).namespace_ids)' end,
        case when plan.thread_ids is not null then ' and e.thread_id = any (($2).thread_ids)' end,
        case when plan.tags_any is not null then ' and e.tags && ($2).tags_any' end,
        case when plan.tags_all is not null then ' and e.tags @> ($2).tags_all' end,
        case when plan.tags_none is not null then ' and not e.tags && ($2).tags_none' end,
        case when plan.filter is not null then
            ' and (select i.metadata @@ ($2).filter from kompanion.memory_items i '
            'where i.namespace_id = e.namespace_id and i.item_id = e.item_id)' end);
end;
$_index_statement$;
revoke all on function kompanion._index_statement(kompanion._search_plan) from public;
comment on function kompanion._index_statement(kompanion._search_plan) is 'Internal. The statement of the index path of a search.';

create function kompanion._apply_settings(
    settings jsonb
)
    returns jsonb
    language plpgsql
    volatile
    set search_path from current
as $_apply_settings$
-- Sets session settings for the transaction and returns what they were, to be handed back the same way.
-- A function-level SET of ivfflat.* would fail for plain roles before the library is loaded.
declare
    v_former jsonb := '{}';
    r        record;
begin
    for r in select e.key, e.value from jsonb_each_text(settings) e where e.value is not null loop
        v_former := v_former || jsonb_build_object(r.key, current_setting(r.key, true));
        perform set_config(r.key, r.value, true);
    end loop;
    return v_former;
end;
$_apply_settings$;
revoke all on function kompanion._apply_settings(jsonb) from public;
comment on function kompanion._apply_settings(jsonb) is 'Internal. Sets session settings for the transaction; returns the former ones.';

create function kompanion._index_settings(
    plan kompanion._search_plan,
    n    integer
)
    returns jsonb
    language plpgsql
    immutable
    set search_path from current
as $_index_settings$
-- What the session must be set to for the index path: the knob, and the planner kept from sorting all of a large scope.
begin
    return jsonb_build_object('enable_sort', 'off', 'enable_seqscan', 'off', 'enable_bitmapscan', 'off')
        || case plan.index_kind
           when 'hnsw' then jsonb_build_object('hnsw.ef_search', least(1000, greatest(plan.knob, n))::text)
           else jsonb_build_object('ivfflat.probes', plan.knob::text) end
        || case when plan.iterative then jsonb_build_object(plan.index_kind || '.iterative_scan', 'relaxed_order') else '{}' end;
end;
$_index_settings$;
revoke all on function kompanion._index_settings(kompanion._search_plan, integer) from public;
comment on function kompanion._index_settings(kompanion._search_plan, integer) is 'Internal. Session settings of the index path.';

create function kompanion._nearest_by_index(
    plan  kompanion._search_plan,
    query vector,
    n     integer
)
    returns table (namespace_id uuid, item_id uuid, chunk_id bigint, distance double precision)
    language plpgsql
    stable
    set search_path from current
as $_nearest_by_index$
-- About the n nearest vectors by the model's index, re-sorted, since an iterative scan may give them out of order.
declare
    v_former jsonb := _apply_settings(_index_settings(plan, n));
begin
    return query execute _index_statement(plan) using query, plan, n;
    perform _apply_settings(v_former);
end;
$_nearest_by_index$;
revoke all on function kompanion._nearest_by_index(kompanion._search_plan, vector, integer) from public;
comment on function kompanion._nearest_by_index(kompanion._search_plan, vector, integer) is
    'Internal. About the n nearest vectors of a scope, by the vector index of the model.';
