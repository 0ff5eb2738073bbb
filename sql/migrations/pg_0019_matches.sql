-- depends: pg_0018_read
-- What a search is about to look at: its conditions as a plan, and its matches counted up to a bound.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create type kompanion._search_hit as (
    namespace_id uuid,
    item_id      uuid,
    chunk_id     bigint,
    distance     double precision
);
comment on type kompanion._search_hit is 'Internal. One chunk found, with its distance.';

create type kompanion._search_plan as (
    model_id      integer,
    model         text,
    dim           integer,
    metric        text,
    k             integer,
    target_recall double precision,
    namespace_ids uuid[],
    thread_ids    uuid[],
    tags_any      text[],
    tags_all      text[],
    tags_none     text[],
    filter        jsonpath,
    number_key    text[],
    number_low    numeric,
    number_high   numeric,
    text_key      text[],
    text_low      text,
    text_high     text,
    by_item       boolean,
    by_row        boolean,
    matches       bigint,
    nearest       kompanion._search_hit[],
    threshold     integer,
    path          text,
    reason        text,
    index_name    text,
    index_kind    text,
    lists         integer,
    half          boolean,
    iterative     boolean,
    knobs         jsonb,
    knob_table    real[],
    knob          integer,
    recall        double precision,
    density       double precision,
    difficulty    integer,
    tenth         double precision,
    looked        bigint,
    rows          bigint,
    index         jsonb,
    learned       bigint,
    unlearned     boolean
);
comment on type kompanion._search_plan is
    'Internal. A search made ready: ids instead of names, the path it takes. namespace_ids NULL means every namespace; by_item: conditions on the item, not on the scope alone; by_row: so many meet them that all rows of the scope are looked at; nearest: what counting or looking around found on the way; looked: how many vectors a look around has seen; rows, index: of the index, as _vector_index has it; learned: the last chunk that was there when an ivfflat index was built; unlearned: many of the nearest came later.';

create function kompanion._conditions()
    returns text
    language plpgsql
    immutable
    set search_path from current
as $_conditions$
-- What a vector must meet to be an answer, as conditions on the row e of embeddings. In this and all statements below $1 is the
-- query, $2 how many, and $3 to $8 are the conditions of a plan, NULL where not asked for. Metadata is asked for in a scalar
-- subquery: a join would be planned first and defeat the index.
begin
    return 'kompanion.is_live(e.deleted_at, e.expires_at)'
        ' and ($3 is null or e.namespace_id = any ($3))'
        ' and ($4 is null or e.thread_id = any ($4))'
        ' and ($5 is null or e.tags && $5)'
        ' and ($6 is null or e.tags @> $6)'
        ' and ($7 is null or not e.tags && $7)'
        ' and ($8 is null or (select i.metadata @@ $8 from kompanion.memory_items i'
        ' where i.namespace_id = e.namespace_id and i.item_id = e.item_id))';
end;
$_conditions$;
revoke all on function kompanion._conditions() from public;
comment on function kompanion._conditions() is 'Internal. The conditions of a search as SQL on a row of embeddings.';

create function kompanion._vector_version()
    returns integer
    language plpgsql
    stable
    set search_path from current
as $_vector_version$
-- pgvector's version as major * 100 + minor. Read from the catalog: SHOW knows no ivfflat.* before the library is loaded.
begin
    return (select split_part(x.extversion, '.', 1)::integer * 100 + split_part(x.extversion, '.', 2)::integer
            from pg_extension x where x.extname = 'vector');
end;
$_vector_version$;
revoke all on function kompanion._vector_version() from public;
comment on function kompanion._vector_version() is 'Internal. Version of pgvector as major * 100 + minor: 0.8.5 is 8.';

create function kompanion._count_vectors(
    model_id      integer,
    namespace_ids uuid[],
    bound         integer
)
    returns bigint
    language plpgsql
    stable
    set search_path from current
    set plan_cache_mode = force_generic_plan  -- one cached plan, by embeddings_scope_ix: planning would cost more than counting
    set enable_seqscan = off
    set jit = off  -- before PostgreSQL 18 a forbidden scan that cannot be avoided looks so dear that it would be compiled
as $_count_vectors$
-- Live vectors of a model in these namespaces, counted no further than bound. For all namespaces, where the statistics
-- of the vector index say there are far more, they are believed: were they wrong, the answer would only be topped up.
begin
    if namespace_ids is not null then
        return (select count(*)
                from (select 1
                      from unnest(_count_vectors.namespace_ids) s (id)
                      cross join lateral (
                          select 1 from embeddings e
                          where e.namespace_id = s.id and e.model_id = _count_vectors.model_id
                            and is_live(e.deleted_at, e.expires_at)
                          offset 0) e  -- a fence: one index scan a namespace
                      limit bound) m);
    elsif exists (select 1 from pg_class c
                  where c.oid = to_regclass('kompanion.embeddings_ann_' || model_id) and c.reltuples > 2.0 * bound) then
        return bound;
    end if;
    return (select count(*)
            from (select 1 from embeddings e
                  where e.model_id = _count_vectors.model_id and is_live(e.deleted_at, e.expires_at)
                  limit bound) m);
end;
$_count_vectors$;
revoke all on function kompanion._count_vectors(integer, uuid[], integer) from public;
comment on function kompanion._count_vectors(integer, uuid[], integer) is
    'Internal. Live vectors of a model in a scope, counted no further than bound.';

create function kompanion._more_than(
    model_id      integer,
    namespace_ids uuid[],
    bound         integer
)
    returns boolean
    language plpgsql
    stable
    set search_path from current
    set plan_cache_mode = force_generic_plan
    set enable_seqscan = off
    set enable_bitmapscan = off
    set jit = off
as $_more_than$
-- Whether these namespaces hold more vectors of a model than bound, dead ones among them: from the index alone, in half the
-- time of counting the live ones, and enough to choose a path by.
begin
    return exists (select 1 from embeddings e where e.namespace_id = any (_more_than.namespace_ids) and e.model_id = _more_than.model_id
                   offset bound);
end;
$_more_than$;
revoke all on function kompanion._more_than(integer, uuid[], integer) from public;
comment on function kompanion._more_than(integer, uuid[], integer) is
    'Internal. Whether a scope holds more vectors of a model than bound, live or not.';

create function kompanion._scan_items(
    plan  kompanion._search_plan,
    query vector,
    bound bigint,
    n     integer,
    out matches bigint,
    out nearest kompanion._search_hit[]
)
    language plpgsql
    stable
    set search_path from current
    set plan_cache_mode = force_custom_plan  -- which conditions are there decides the plan
    set enable_seqscan = on                  -- search sets it off
    set jit = off
as $_scan_items$
-- Goes through the vectors of the items that match, found by the items' own indexes: counts them, no further than bound
-- (NULL: all), and keeps the n nearest of those it saw. "offset 0" and the subquery for the model hold also where the statistics do
-- not know the model: seen to have next to no vectors, it led, and each vector looked for its item in all of the scope.
begin
    with seen as materialized (
        select e.namespace_id, e.item_id, e.chunk_id,
               case plan.metric when 'cosine' then e.vector <=> query when 'l2' then e.vector <-> query else e.vector <#> query end as d
        from (
            select i.namespace_id, i.item_id
            from memory_items i
            where is_live(i.deleted_at, i.expires_at)
              and (plan.namespace_ids is null or i.namespace_id = any (plan.namespace_ids))
              and (plan.thread_ids is null or i.thread_id = any (plan.thread_ids))
              and (plan.tags_any is null or i.tags && plan.tags_any)
              and (plan.tags_all is null or i.tags @> plan.tags_all)
              and (plan.tags_none is null or not i.tags && plan.tags_none)
              and (plan.filter is null or i.metadata @@ plan.filter)
              and (plan.number_key is null
                   or metadata_number(i.metadata, plan.number_key) between plan.number_low and plan.number_high)
              and (plan.text_key is null
                   or metadata_text(i.metadata, plan.text_key) collate "C" between plan.text_low and plan.text_high)
            offset 0) i
        join embeddings e on e.namespace_id = i.namespace_id and e.item_id = i.item_id
        where e.model_id = (select plan.model_id) and is_live(e.deleted_at, e.expires_at)
        limit bound
    )
    select (select count(*) from seen),
           array(select (s.namespace_id, s.item_id, s.chunk_id, s.d)::_search_hit from seen s order by s.d, s.chunk_id limit n)
    into matches, nearest;
end;
$_scan_items$;
revoke all on function kompanion._scan_items(kompanion._search_plan, vector, bigint, integer) from public;
comment on function kompanion._scan_items(kompanion._search_plan, vector, bigint, integer) is
    'Internal. Counts the matching vectors of a search with conditions on the item, and keeps the n nearest.';

create function kompanion._count_scope(
    plan  kompanion._search_plan,
    query vector,
    bound integer
)
    returns kompanion._search_plan
    language plpgsql
    stable
    set search_path from current
as $_count_scope$
-- The plan with its threshold, and its matches counted one further than that at most.
begin
    plan.threshold := bound;
    if plan.by_item then
        select s.matches, s.nearest into plan.matches, plan.nearest from _scan_items(plan, query, bound + 1, 2 * plan.k) s;
    else
        plan.matches := _count_vectors(plan.model_id, plan.namespace_ids, bound + 1);
    end if;
    return plan;
end;
$_count_scope$;
revoke all on function kompanion._count_scope(kompanion._search_plan, vector, integer) from public;
comment on function kompanion._count_scope(kompanion._search_plan, vector, integer) is
    'Internal. Counts the matches of a search, no further than one above bound.';
