-- depends: pg_0019_matches
-- The nearest of a scope exactly, by looking at all of it.
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
                select e.*
                from unnest(v_ids) s (id)
                cross join lateral (
                    -- In the order of the key, which is mostly that of the heap: in random order the same rows take a third longer.
                    select e.namespace_id, e.item_id, e.chunk_id,
                           case when v_cosine then e.vector <=> query when v_l2 then e.vector <-> query else e.vector <#> query end as d
                    from embeddings e
                    where e.namespace_id = s.id and e.model_id = v_model and is_live(e.deleted_at, e.expires_at)
                    order by e.chunk_id
                    offset 0) e  -- a fence: one index scan a namespace
                order by e.d, e.chunk_id
                limit n) h)
        -- As _more_than, in the same statement: calling it would cost as much again where a scope is small.
        where bound is null
           or not exists (select 1 from embeddings e where e.namespace_id = any (v_ids) and e.model_id = v_model offset bound));
end;
$_nearest_exact$;
revoke all on function kompanion._nearest_exact(kompanion._search_plan, vector, integer, integer) from public;
comment on function kompanion._nearest_exact(kompanion._search_plan, vector, integer, integer) is
    'Internal. The n nearest vectors of a scope, exactly; NULL when there are more than bound.';

create function kompanion._nearest_of_one(
    plan  kompanion._search_plan,
    query vector,
    n     integer,
    bound integer
)
    returns kompanion._search_hit[]
    language plpgsql
    stable
    set search_path from current
    set plan_cache_mode = force_generic_plan
    set enable_seqscan = off
    set enable_bitmapscan = off
    set enable_sort = off
    set jit = off
as $_nearest_of_one$
-- As _nearest_exact, for one namespace that is thought to hold no more than bound: it is not counted but searched, and what
-- the search has read is then asked of the server's own counter. Counting costs a sixth of the search. NULL: there are more.
declare
    v_cosine constant boolean := plan.metric = 'cosine';
    v_l2     constant boolean := plan.metric = 'l2';
    v_model  constant integer := plan.model_id;
    v_id     constant uuid := plan.namespace_ids[1];
    v_before constant bigint := pg_stat_get_xact_tuples_fetched('kompanion.embeddings_pk'::regclass);
    v_read   bigint;
    v_hits   _search_hit[];
begin
    v_hits := array(
        select (h.namespace_id, h.item_id, h.chunk_id, h.d)::_search_hit
        from (
            select *
            from (
                select e.namespace_id, e.item_id, e.chunk_id,
                       case when v_cosine then e.vector <=> query when v_l2 then e.vector <-> query else e.vector <#> query end as d
                from embeddings e
                where e.namespace_id = v_id and e.model_id = v_model and is_live(e.deleted_at, e.expires_at)
                order by e.chunk_id
                limit bound + 1) e
            order by e.d, e.chunk_id
            limit n) h);
    v_read := pg_stat_get_xact_tuples_fetched('kompanion.embeddings_pk'::regclass) - v_before;
    -- Nothing read, says the counter, yet something found: it is not kept (track_counts), or elsewhere (Citus, another index).
    if v_read > bound or v_read = 0 and cardinality(v_hits) > 0 and _more_than(v_model, plan.namespace_ids, bound) then
        return null;
    end if;
    return v_hits;
end;
$_nearest_of_one$;
revoke all on function kompanion._nearest_of_one(kompanion._search_plan, vector, integer, integer) from public;
comment on function kompanion._nearest_of_one(kompanion._search_plan, vector, integer, integer) is
    'Internal. The n nearest vectors of one namespace, exactly; NULL when there are more than bound.';

create function kompanion._nearest_by_row(
    plan  kompanion._search_plan,
    query vector,
    n     integer,
    since bigint default null
)
    returns kompanion._search_hit[]
    language plpgsql
    stable
    set search_path from current
    set enable_seqscan = on  -- search sets it off
    set jit = off
as $_nearest_by_row$
-- The n nearest by looking at every vector of the scope, or of its later chunks than since: for conditions on the item that many meet.
declare
    v_scan text := set_config('enable_seqscan', case when since is null then 'on' else 'off' end, true);
    v_hits _search_hit[];
begin
    execute format('select array(select (s.namespace_id, s.item_id, s.chunk_id, s.d)::kompanion._search_hit from ('  -- "+ 0": not by the vector index
                   'select e.namespace_id, e.item_id, e.chunk_id, (e.vector %s $1) + 0 as d from kompanion.embeddings e '
                   'where e.model_id = %s and %s and %s order by d, e.chunk_id limit $2) s)',
                   case plan.metric when 'cosine' then '<=>' when 'l2' then '<->' else '<#>' end, plan.model_id, coalesce('e.chunk_id + 0 > ' || since, 'true'), _conditions())
    into v_hits using query, n, plan.namespace_ids, plan.thread_ids, plan.tags_any, plan.tags_all, plan.tags_none, plan.filter;
    return v_hits;
end;
$_nearest_by_row$;
revoke all on function kompanion._nearest_by_row(kompanion._search_plan, vector, integer, bigint) from public;
comment on function kompanion._nearest_by_row(kompanion._search_plan, vector, integer, bigint) is
    'Internal. The n nearest that meet conditions on the item, by looking at every vector of the scope, or at those of later chunks.';

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
-- asked of what they give. One half is never run; to keep what the tags give for one second half took longer. They may have
-- become common since, elsewhere: how many items were read the server's own counter tells, as in _nearest_of_one.
declare
    v_cosine constant boolean := plan.metric = 'cosine'; v_l2 constant boolean := plan.metric = 'l2';
    v_most   constant bigint := 2 * bound; v_read bigint := pg_stat_get_xact_tuples_fetched('kompanion.memory_items'::regclass);
begin
    with seen as materialized (
        select e.namespace_id, e.item_id, e.chunk_id,
               case when v_cosine then e.vector <=> query when v_l2 then e.vector <-> query else e.vector <#> query end as d
        from (select * from memory_items m where lead = 'all' and m.tags @> plan.tags_all and (plan.tags_any is null or m.tags && plan.tags_any) and is_live(m.deleted_at, m.expires_at) limit v_most) i
        cross join lateral (select * from embeddings v where v.namespace_id = i.namespace_id and v.item_id = i.item_id and v.model_id = plan.model_id
                              and is_live(v.deleted_at, v.expires_at) offset 0) e
        where (plan.namespace_ids is null or i.namespace_id = any (plan.namespace_ids))
          and (plan.thread_ids is null or i.thread_id = any (plan.thread_ids))
          and (plan.tags_none is null or not i.tags && plan.tags_none)
          and (plan.filter is null or i.metadata @@ plan.filter)
        union all
        select e.namespace_id, e.item_id, e.chunk_id,
               case when v_cosine then e.vector <=> query when v_l2 then e.vector <-> query else e.vector <#> query end as d
        from (select * from memory_items m where lead = 'any' and m.tags && plan.tags_any and (plan.tags_all is null or m.tags @> plan.tags_all) and is_live(m.deleted_at, m.expires_at) limit v_most) i
        cross join lateral (select * from embeddings v where v.namespace_id = i.namespace_id and v.item_id = i.item_id and v.model_id = plan.model_id
                              and is_live(v.deleted_at, v.expires_at) offset 0) e
        where (plan.namespace_ids is null or i.namespace_id = any (plan.namespace_ids))
          and (plan.thread_ids is null or i.thread_id = any (plan.thread_ids))
          and (plan.tags_none is null or not i.tags && plan.tags_none)
          and (plan.filter is null or i.metadata @@ plan.filter)
        limit bound
    )
    select (select count(*) from seen),
           array(select (s.namespace_id, s.item_id, s.chunk_id, s.d)::_search_hit from seen s order by s.d, s.chunk_id limit n)
    into matches, nearest;
    v_read := pg_stat_get_xact_tuples_fetched('kompanion.memory_items'::regclass) - v_read;
    if v_read >= v_most
       or v_read = 0 and exists (select from memory_items m where lead = 'all' and m.tags @> plan.tags_all or lead = 'any' and m.tags && plan.tags_any offset v_most - 1) then
        matches := bound;
    end if;
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
