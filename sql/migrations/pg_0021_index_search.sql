-- depends: pg_0020_exact_search
-- The nearest by the vector index of a model: its statements, and where they are kept planned.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

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
-- A scan of the model's index in order of nearness, to be limited. One table, order by the bare operator, model and dimension
-- as literals, or the partial index is not used. d is the exact distance, also where the order is of half precision.
declare
    v_operator text := case plan.metric when 'cosine' then '<=>' when 'l2' then '<->' else '<#>' end;
begin
    return format('select e.namespace_id, e.item_id, e.chunk_id, %1$s(e.vector::vector(%2$s)) %3$s $1::vector(%2$s) as d '
                  'from %4$s e where e.model_id = %5$s and %6$s order by (e.vector::%7$s(%2$s)) %3$s $1::%7$s(%2$s)',
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
-- The statement of the index path. Sorted again, by "d + 0" since the planner takes "d" for sorted: relaxed order and half
-- precision are not; half precision also hands over a few more to choose from.
begin
    return format('select (s.namespace_id, s.item_id, s.chunk_id, s.d)::kompanion._search_hit from (%s limit %s) s order by s.d + 0, s.chunk_id%s',
                  _index_scan(plan, '', _conditions() || ' and ' || extra, source),
                  case when plan.half then '$2 + $2 / 2 + 10' else '$2' end, case when plan.half then ' limit $2' end);
end;
$_index_statement$;
revoke all on function kompanion._index_statement(kompanion._search_plan, text, text) from public;
comment on function kompanion._index_statement(kompanion._search_plan, text, text) is 'Internal. The statement of the index path of a search.';

create function kompanion._look_statement(
    plan  kompanion._search_plan,
    extra text default 'true'
)
    returns text
    language plpgsql
    stable
    set search_path from current
as $_look_statement$
-- The statement of a look around, which gives a _sight: its matches sorted again as those of _index_statement are, since they
-- may be the answer, and their places in that order too, or they would be sorted twice. No further than to $9 of the matches,
-- the tenth of all and the last: where matches lie dense it soon has seen enough.
begin
    return format('select array_agg((s.namespace_id, s.item_id, s.chunk_id, s.d)::kompanion._search_hit order by s.d + 0, s.chunk_id) filter (where s.ok), '
                  'max(s.n), coalesce(max(s.d) filter (where s.n = 10), max(s.d) filter (where s.last)), array_agg(s.n order by s.d + 0, s.chunk_id) filter (where s.ok) '
                  'from (select * from (select h.*, row_number() over () as n, lead(false, 1, true) over () as last from (%s limit $2) h) w '
                  'where w.n = 10 or w.ok or w.last limit $9) s',
                  _index_scan(plan, _conditions() || ' as ok, ', extra));
end;
$_look_statement$;
revoke all on function kompanion._look_statement(kompanion._search_plan, text) from public;
comment on function kompanion._look_statement(kompanion._search_plan, text) is 'Internal. The statement of a look around.';

create type kompanion._sight as (
    nearest kompanion._search_hit[],
    looked  bigint,
    tenth   double precision,
    places  bigint[]
);
comment on type kompanion._sight is
    'Internal. What a look around a query sees: the matches, how many vectors it looked at, how far the tenth lies, and which of all seen, in order of nearness, the matches are.';

create function kompanion._model_nearest(
    query         vector,
    n             integer,
    namespace_ids uuid[],
    thread_ids    uuid[],
    tags_any      text[],
    tags_all      text[],
    tags_none     text[],
    filter        jsonpath,
    model_id      integer,
    half          boolean
)
    returns kompanion._search_hit[]
    language plpgsql
    stable
    set search_path from current
    set plan_cache_mode = force_generic_plan
as $_model_nearest$
-- The statement of the index path, planned once a session: record_index writes it here for each model that has an index.
begin
    return null;  -- no model has: the statement is planned each time
end;
$_model_nearest$;
revoke all on function kompanion._model_nearest(vector, integer, uuid[], uuid[], text[], text[], text[], jsonpath, integer, boolean) from public;
comment on function kompanion._model_nearest(vector, integer, uuid[], uuid[], text[], text[], text[], jsonpath, integer, boolean) is
    'Internal. About the n nearest vectors by the index of a model, as record_index has written it; NULL when it has not.';

create function kompanion._model_look(
    query         vector,
    n             integer,
    namespace_ids uuid[],
    thread_ids    uuid[],
    tags_any      text[],
    tags_all      text[],
    tags_none     text[],
    filter        jsonpath,
    enough        integer,
    model_id      integer,
    half          boolean
)
    returns kompanion._sight
    language plpgsql
    stable
    set search_path from current
    set plan_cache_mode = force_generic_plan
as $_model_look$
-- As _model_nearest, for the look around.
begin
    return null;
end;
$_model_look$;
revoke all on function kompanion._model_look(vector, integer, uuid[], uuid[], text[], text[], text[], jsonpath, integer, integer, boolean) from public;
comment on function kompanion._model_look(vector, integer, uuid[], uuid[], text[], text[], text[], jsonpath, integer, integer, boolean) is
    'Internal. A look around a query by the index of a model, as record_index has written it; NULL when it has not.';

create function kompanion._write_model_scans()
    returns void
    language plpgsql
    volatile
    set search_path from current
as $_write_model_scans$
-- Writes the statements of every model that has an index into _model_nearest and _model_look, which need literals for the model
-- and the dimension: planned once a session, they take half the time of a short search less than planned each time. Only the
-- owner may; where another calls, or nobody, searches plan each time. The heads are those of the functions as they are.
declare
    c_head constant text := E'\n-- Written by record_index.\ndeclare\n    v_sight kompanion._sight;\nbegin\n'
        '    if cardinality(namespace_ids) > 16 or cardinality(thread_ids) > 16 then\n'
        '        return null;  -- looked up by hash where the plan knows them\n';
    c_foot constant text := E'    end if;\n    return null;\nend;\n';
    v_nearest text := '';
    v_look    text := '';
    v_plan    _search_plan;
    r         record;
begin
    if not exists (select 1 from pg_proc p where p.oid = 'kompanion._model_look'::regproc and pg_has_role(p.proowner, 'usage')) then
        return;
    end if;
    perform from settings s where s.name = 'target_recall' for no key update;  -- two at a time would fail; no model's row, as calibrate holds one for minutes
    for r in
        select m.model_id, m.dim, m.metric, x.half from embedding_models m cross join lateral _vector_index(m.model_id) x
        where x.valid
        order by m.is_default desc, m.model_id
    loop
        v_plan.model_id := r.model_id; v_plan.dim := r.dim; v_plan.metric := r.metric; v_plan.half := r.half;
        v_nearest := v_nearest || format(E'    elsif model_id = %s and half = %L then\n        return array(%s);\n',
                                         r.model_id, r.half, _index_statement(v_plan));
        v_look := v_look || format(E'    elsif model_id = %s and half = %L then\n        %s into v_sight;\n        return v_sight;\n',
                                   r.model_id, r.half, _look_statement(v_plan));
    end loop;
    for r in
        select pg_get_functiondef(p.oid) as definition, p.prosrc as former, c_head || f.branches || c_foot as body
        from (values ('kompanion._model_nearest'::regproc, v_nearest), ('kompanion._model_look', v_look)) f (oid, branches)
        join pg_proc p on p.oid = f.oid
        where p.prosrc <> c_head || f.branches || c_foot
    loop
        execute replace(r.definition, r.former, r.body);
    end loop;
end;
$_write_model_scans$;
revoke all on function kompanion._write_model_scans() from public;
comment on function kompanion._write_model_scans() is 'Internal. Writes _model_nearest and _model_look for the models that have an index.';

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
    v_hits := _model_nearest(query, n, plan.namespace_ids, plan.thread_ids, plan.tags_any, plan.tags_all, plan.tags_none, plan.filter, plan.model_id, plan.half);
    if v_hits is null then
        execute 'select array(' || _index_statement(plan) || ')' into v_hits
        using query, n, plan.namespace_ids, plan.thread_ids, plan.tags_any, plan.tags_all, plan.tags_none, plan.filter;
    end if;
    v_set := set_config(v_knob, v_former[1], true);
    if plan.iterative then
        v_set := set_config(v_scan, v_former[2], true);
    end if;
    -- What the index did not learn may be in any of its lists.
    if plan.unlearned then
        v_hits := array(
            select (h.namespace_id, h.item_id, h.chunk_id, h.distance)::_search_hit
            from (select * from unnest(v_hits) o where o.chunk_id <= plan.learned
                  union all
                  select * from unnest(_nearest_by_row(plan, query, n, plan.learned))) h
            order by h.distance, h.chunk_id
            limit n);
    end if;
    return v_hits;
end;
$_nearest_by_index$;
revoke all on function kompanion._nearest_by_index(kompanion._search_plan, vector, integer) from public;
comment on function kompanion._nearest_by_index(kompanion._search_plan, vector, integer) is
    'Internal. About the n nearest vectors of a scope, by the vector index of the model.';
