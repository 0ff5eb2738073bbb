-- depends: pg_0025_search
-- Vector indexes: decided from row counts, built outside migrations, watched for drift.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion.index_statements(
    model        text    default null,
    kind         text    default null,
    lists        integer default null,
    half         boolean default null,
    concurrently boolean default true
)
    returns table (step integer, statement text, reason text)
    language plpgsql
    stable
    set search_path from current
as $index_statements$
-- The statements that give a model the vector index it should have; none when it has it. Under psql: \gexec runs them.
-- The new index is built beside the old one, which serves until the new one has its place; leftovers go first. psql goes on after
-- an error: should the build fail, swap_index fails too, and nothing of the old one is dropped. None while another session builds.
declare
    v_model   record;
    v_current record;
    v_rows    bigint; v_later bigint; v_built bigint; v_chunk bigint;
    v_name    text;
    v_how     text := case when index_statements.concurrently then 'concurrently ' else '' end;
    v_kind    text := index_statements.kind;
    v_lists   integer := index_statements.lists;
    v_half    boolean := index_statements.half;
    v_choice  jsonb; v_own boolean;
    v_reason  text; v_fine boolean; v_measured boolean;
begin
    select * into v_model from _model(index_statements.model);
    select * into v_current from _vector_index(v_model.model_id);
    v_name := 'embeddings_ann_' || v_model.model_id;
    select count(*), max(e.chunk_id), count(*) filter (where e.chunk_id > m.index_chunk) into v_rows, v_chunk, v_later
    from embeddings e join embedding_models m on m.model_id = e.model_id where e.model_id = v_model.model_id;
    select m.index_rows, m.index_choice, m.calibration ->> 'queries_digest' is not null or coalesce((m.index_choice ->> 'own_queries')::boolean, false) into v_built, v_choice, v_own from embedding_models m where m.model_id = v_model.model_id;
    if v_kind is not null and v_kind not in ('none', 'ivfflat', 'hnsw') or v_lists not between 1 and 32768 then
        raise exception using
            errcode = 'KM007',
            message = format('kind, lists: %s with %s lists cannot be built', v_kind, coalesce(v_lists::text, 'default')),
            hint    = 'kind is none, ivfflat or hnsw; lists is 1 to 32768.';
    elsif v_lists is not null and v_kind <> 'ivfflat' then
        raise exception using
            errcode = 'KM007', message = format('lists: an index of kind %s has none', v_kind), hint = 'Leave lists out, or give kind ivfflat.';
    elsif not half and v_model.dim > 2000 or half and _vector_version() < 7 then
        raise exception using
            errcode = 'KM007',
            message = format('half: %s cannot be for %s dimensions with pgvector %s', half, v_model.dim, (select x.extversion from pg_extension x where x.extname = 'vector')),
            hint    = 'Single precision is indexed up to 2000 dimensions; half precision up to 4000, with pgvector 0.7 or later. Leave half out for what fits.';
    end if;

    -- Of whatever model: two builds on one table wait for each other, and one of them would lose all it has done.
    if exists (select 1 from pg_index x where x.indrelid = 'kompanion.embeddings'::regclass and not x.indisvalid and _being_built(x.indexrelid)) then
        raise notice 'index_statements: another session builds an index of embeddings, or vacuums it, just now: ask again later';
        return;
    end if;
    v_half := coalesce(v_half, case when v_current.valid then v_current.half end, (v_choice ->> 'half')::boolean, v_model.dim > 2000);
    if v_model.dim > (case when v_half then 4000 else 2000 end) then
        v_kind := 'none'; v_reason := format('pgvector indexes at most %s dimensions; search is exact', case when v_half then 4000 else 2000 end);
    elsif v_half and _vector_version() < 7 then
        v_kind := 'none'; v_reason := 'half precision needs pgvector 0.7; search is exact';
    elsif v_kind is null and v_lists is not null then
        v_kind := 'ivfflat'; v_reason := 'asked for';
    elsif v_kind is null and v_choice is not null then
        v_kind := v_choice ->> 'kind';
        v_lists := round((v_choice ->> 'lists')::integer * sqrt(greatest(v_rows, 1) / (v_choice ->> 'rows')::double precision));
        v_reason := 'tune_index found it best';
    elsif v_kind is null and v_current.valid then
        v_kind := v_current.kind; v_reason := format('%s rows, built from %s', v_rows, coalesce(v_built, 0));
        if v_built > 0 and v_current.lists <> greatest(10, round(sqrt(v_built))) then  -- asked for
            v_lists := round(v_current.lists * sqrt(greatest(v_rows, 1) / v_built::double precision));
        end if;
    elsif v_kind is null and v_rows < setting('index_min_rows')::bigint then
        v_kind := 'none'; v_reason := format('%s rows are searched exactly faster than by an index', v_rows);
    elsif v_kind is null then
        v_kind := 'ivfflat'; v_reason := format('%s rows', v_rows);
    else
        v_reason := 'asked for';
    end if;
    if v_kind = 'ivfflat' then
        -- The square root at every size: pgvector's README has rows / 1000 below a million, which is coarser and costs more
        -- for the same recall (on 10,000 real passages 32 lists gave 0.946 at 31 % of the rows visited, 100 lists at 20 %).
        v_lists := least(32768, greatest(1, coalesce(v_lists, greatest(10, round(sqrt(v_rows))))));
    else
        v_lists := null;
    end if;

    -- All is well: the kind, lists and precision that should be, and, as ivfflat learns its lists from the rows there are,
    -- few more rows, nor others, nor a few of them that are left. Lists that follow from the number of rows may be off by half.
    v_fine := coalesce(v_current.valid and v_current.kind = v_kind and v_current.half = v_half
       and (v_kind = 'hnsw'
            or v_rows < greatest(1, 2 * coalesce(v_built, 0)) and v_later * 2 <= v_rows and not v_rows between setting('index_min_rows')::bigint and coalesce(v_built, 0) / 4
               and (case when index_statements.lists is not null then v_current.lists = v_lists
                    else v_choice is null or v_lists between v_current.lists * 0.67 and v_current.lists * 1.5 end))
       or v_current.name is null and v_kind = 'none', false);
    v_measured := not v_fine and v_kind <> 'none' and (v_rows >= setting('index_min_rows')::bigint or v_choice is not null) and index_statements.concurrently;
    return query
    select row_number() over (order by s.n)::integer, s.statement, s.reason
    from (values
        (1, format('drop index %sif exists kompanion.%I', v_how, v_name || '_new'),
            case when to_regclass(format('kompanion.%I', v_name || '_new')) is not null then 'a build broke off' end),
        (2, format('drop index %sif exists kompanion.%I', v_how, v_name || '_old'),
            case when to_regclass(format('kompanion.%I', v_name || '_old')) is not null then 'it was replaced' end),
        (3, format('create index %s%I on kompanion.embeddings %s where model_id = %s', v_how, v_name || '_new',
                   _index_definition(v_kind, v_lists, v_model.dim, v_model.metric, v_half), v_model.model_id),
            case when not v_fine and v_kind <> 'none' then v_reason end),
        (4, format('select kompanion.swap_index(%L, %s, %s)', v_model.model, v_rows, coalesce(v_chunk, 0)),
            case when not v_fine and v_kind <> 'none' then 'takes its place, with rows at build, to see drift later' end),
        (5, format('drop index %sif exists kompanion.%I', v_how, v_name || case when v_kind <> 'none' then '_old' else '' end),
            case when not v_fine and v_current.name is not null then
                case when v_kind = 'none' then v_reason when v_current.valid then 'the new one has its place' else 'it is invalid' end end),
        (6, format('select kompanion.record_index(%L, 0)', v_model.model), case when not v_fine and v_kind = 'none' then 'there is none now' end),
        -- Autovacuum cannot have done it during the build, and what was just loaded would be planned for as nothing.
        (7, 'analyze kompanion.memory_items, kompanion.embeddings', case when v_measured then 'searches, and calibrate, go by the statistics' end),
        (8, format('select count(*) as measured from kompanion.calibrate(%L)', v_model.model),
            -- Not where queries of the caller's own were asked: what stored vectors say would pass for them. index_advice tells.
            case when v_measured and not v_own then 'search chooses exact or index, and how far it goes, by what this measures; a minute at most' end)
    ) s (n, statement, reason)
    where s.reason is not null;
end;
$index_statements$;
revoke all on function kompanion.index_statements(text, text, integer, boolean, boolean) from public;
comment on function kompanion.index_statements(text, text, integer, boolean, boolean) is
    'The statements that give a model the vector index it should have, to be run one by one outside a transaction: select statement from kompanion.index_statements(''m'') \gexec. kind: none, ivfflat, hnsw; by default what tune_index found best, or from the number of rows. half: in half precision, for half the memory; by default as the index is, and above 2000 dimensions.';

create function kompanion.record_index(
    model       text,
    index_rows  bigint,
    index_chunk bigint default null
)
    returns void
    language plpgsql
    volatile
    set search_path from current
as $record_index$
-- Remembers what an index was built from, and keeps the statements of searches by it.
declare
    v_model integer := (select m.model_id from _model(record_index.model) m);
begin
    if index_rows is null or index_rows not between 0 and 1000000000000 then
        raise exception using
            errcode = 'KM007',
            message = format('index_rows: %s is not the number of rows an index was built from', coalesce(index_rows::text, 'NULL')),
            hint    = 'Give the number of vectors of the model at that time; 0 says that none is wanted before there are twice as many as now.';
    elsif index_chunk < 0 then
        raise exception using
            errcode = 'KM007', message = format('index_chunk: %s is not the id of a chunk', index_chunk),
            hint    = 'Give the largest chunk_id of the vectors of the model at that time; leave it out for that of now.';
    end if;
    update embedding_models m
    set index_rows = record_index.index_rows, indexed_at = now(),
        index_chunk = coalesce(record_index.index_chunk, (select max(e.chunk_id + 0) from embeddings e where e.model_id = v_model), 0)
    where m.model_id = v_model;
    perform _write_model_scans();
end;
$record_index$;
revoke all on function kompanion.record_index(text, bigint, bigint) from public;
comment on function kompanion.record_index(text, bigint, bigint) is
    'Remember how many rows the vector index of a model was built from (0: none is wanted before there are twice as many) and which chunk was the last of them (by default now), and, as the owner of the schema, keep the statements of searches by it planned once a session; swap_index does it, call it after building an index in another way.';

create function kompanion.swap_index(
    model       text,
    index_rows  bigint,
    index_chunk bigint default null
)
    returns void
    language plpgsql
    volatile
    set search_path from current
as $swap_index$
-- Puts the index that index_statements has built beside the old one in its place; the old one is to be dropped afterwards.
declare
    v_model record;
    v_name  text;
begin
    select * into v_model from _model(swap_index.model);
    v_name := 'embeddings_ann_' || v_model.model_id;
    perform from embedding_models m where m.model_id = v_model.model_id for no key update;  -- of two at a time the second looks afterwards
    if to_regclass(format('kompanion.%I', v_name || '_old')) is not null then
        raise exception using
            errcode = 'object_not_in_prerequisite_state', message = format('model: the index of %L that was replaced before is still there', v_model.model),
            hint    = format('Outside a transaction: drop index concurrently kompanion.%I', v_name || '_old');
    elsif not exists (select 1 from pg_index x where x.indexrelid = to_regclass(format('kompanion.%I', v_name || '_new')) and x.indisvalid) then
        raise exception using
            errcode = 'object_not_in_prerequisite_state',
            message = format('model: the new index of %L is not there or invalid, as its build failed; what there was serves on', v_model.model),
            hint    = format(E'Mend what the build said, then again, with kind, lists and half if those were given: select statement from kompanion.index_statements(%L) \\gexec', v_model.model);
    end if;
    if to_regclass(format('kompanion.%I', v_name)) is not null then
        execute format('alter index kompanion.%I rename to %I', v_name, v_name || '_old');
    end if;
    execute format('alter index kompanion.%I rename to %I', v_name || '_new', v_name);
    perform record_index(model, index_rows, index_chunk);
end;
$swap_index$;
revoke all on function kompanion.swap_index(text, bigint, bigint) from public;
comment on function kompanion.swap_index(text, bigint, bigint) is
    'Put the index that index_statements has built in the place of the old one, and remember how many rows it was built from, and the last chunk of them (by default now); 55000 when there is no valid new one, and then nothing changes. index_statements calls it after each build.';

create function kompanion.ensure_index(
    model text    default null,
    kind  text    default null,
    lists integer default null,
    half  boolean default null
)
    returns table (step integer, statement text, reason text)
    language plpgsql
    volatile
    set search_path from current
as $ensure_index$
-- Gives a model the vector index it should have, in this transaction, and returns what was run; nothing when all is well.
-- Writers of embeddings wait meanwhile; where they may not, run index_statements one by one instead. Readers do not wait for a
-- build: an index is dropped only while nobody uses the table, and last, as that lock is kept to the end of the transaction.
declare
    r record;
begin
    perform _hold_models(m.model_id) from _model(ensure_index.model) m;
    for r in
        select s.*, bool_or(s.statement like 'create index%') over () and not bool_or(s.statement like 'create index%') over (order by s.step) as before_build,
               replace(s.statement, 'drop index', 'drop index concurrently') as by_hand
        from index_statements(ensure_index.model, ensure_index.kind, ensure_index.lists, ensure_index.half, false) s
    loop
        if r.before_build then
            raise exception using
                errcode = 'object_not_in_prerequisite_state',
                message = format('model: a former build has left an index: %s', r.reason),
                hint    = format('First, outside a transaction: %s', r.by_hand);
        elsif r.statement like 'drop index%' then
            begin
                lock table kompanion.embeddings in access exclusive mode nowait;
            exception when lock_not_available then
                if r.reason not in ('the new one has its place', 'it is invalid') then  -- an invalid one serves no search
                    raise exception using
                        errcode = 'lock_not_available', message = 'model: its index cannot be dropped while others use the table',
                        hint    = format('Outside a transaction: %s', r.by_hand);
                end if;
                raise notice 'ensure_index: what was replaced is left, as others use the table, and searches may be exact until it is dropped; outside a transaction: %', r.by_hand;
                continue;
            end;
        end if;
        execute r.statement;
        step := r.step; statement := r.statement; reason := r.reason;
        return next;
    end loop;
end;
$ensure_index$;
revoke all on function kompanion.ensure_index(text, text, integer, boolean) from public;
comment on function kompanion.ensure_index(text, text, integer, boolean) is
    'Give a model the vector index it should have, in one transaction, blocking writers of embeddings, and readers only from the drop of an index to the end of the transaction; returns what was run. 55P03 while another session measures or builds. Run it as the owner of the tables; index_statements does it concurrently. Calibrate afterwards.';
