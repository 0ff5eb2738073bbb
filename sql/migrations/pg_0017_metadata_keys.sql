-- depends: pg_0016_filters
-- Hot metadata keys: a b-tree for one of them, and what a filter says about it.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion.metadata_number(metadata jsonb, path text[])
    returns numeric
    language sql
    immutable parallel safe
-- A number may have 147,455 digits, which no page of an index has room for. Cut off like this, what is not smaller stays so.
return case when jsonb_typeof(metadata #> path) = 'number' then least(greatest(trunc((metadata #>> path)::numeric, 100), -1e100), 1e100) end;
revoke all on function kompanion.metadata_number(jsonb, text[]) from public;
comment on function kompanion.metadata_number(jsonb, text[]) is
    'The number at a path of metadata, to at most a hundred digits on either side of its point, NULL when there is none; what index_metadata_key indexes for type number.';

create function kompanion.metadata_text(metadata jsonb, path text[])
    returns text
    language sql
    immutable parallel safe
return case when jsonb_typeof(metadata #> path) = 'string' then left(metadata #>> path, 256) end;
revoke all on function kompanion.metadata_text(jsonb, text[]) from public;
comment on function kompanion.metadata_text(jsonb, text[]) is
    'The first 256 characters of the text at a path of metadata, NULL when there is none; what index_metadata_key indexes for type text.';

create function kompanion._indexed_ranges(
    filter jsonb,
    out number_key  text[],
    out number_low  numeric,
    out number_high numeric,
    out text_key    text[],
    out text_low    text,
    out text_high   text
)
    language plpgsql
    stable
    set search_path from current
as $_indexed_ranges$
-- What a filter implies for an indexed key: the range its value must be in. At most one number and one text key.
-- The range may be wider than the filter, which is still checked; it only lets the planner use the index.
declare
    v_indexed jsonb;
    v_test    jsonb;
    r         record;
begin
    if filter is null or filter = '{}' then
        return;
    end if;
    v_indexed := setting('indexed_metadata');
    for r in
        select f.key, case when jsonb_typeof(f.value) = 'object' then f.value else jsonb_build_object('$eq', f.value) end as test,
               v_indexed ->> f.key as type
        from jsonb_each(filter) f
        where v_indexed ? f.key
    loop
        v_test := jsonb_strip_nulls(jsonb_build_object(
            'low', coalesce(r.test -> '$eq', r.test -> '$gte', r.test -> '$gt'),
            'high', coalesce(r.test -> '$eq', r.test -> '$lte', r.test -> '$lt')));
        if r.type = 'number' and number_key is null
           and (jsonb_typeof(v_test -> 'low') = 'number' or jsonb_typeof(v_test -> 'high') = 'number') then
            number_key  := string_to_array(r.key, '.');
            number_low  := coalesce(metadata_number(v_test, '{low}'), '-Infinity');
            number_high := coalesce(metadata_number(v_test, '{high}'), 'Infinity');
        elsif r.type = 'text' and text_key is null
           and jsonb_typeof(v_test -> 'low') = 'string' and jsonb_typeof(v_test -> 'high') = 'string' then
            text_key  := string_to_array(r.key, '.');
            text_low  := left(v_test ->> 'low', 256);
            text_high := left(v_test ->> 'high', 256);
        end if;
    end loop;
end;
$_indexed_ranges$;
revoke all on function kompanion._indexed_ranges(jsonb) from public;
comment on function kompanion._indexed_ranges(jsonb) is
    'Internal. The ranges a filter implies for keys that index_metadata_key indexed.';

create function kompanion._metadata_index(
    key  text,
    type text
)
    returns text
    language sql
    immutable parallel safe
    set search_path from current
return format('memory_items_metadata_%s_%s_ix', type, left(encode(sha256(convert_to(key, 'UTF8'::name)), 'hex'), 12));
revoke all on function kompanion._metadata_index(text, text) from public;
comment on function kompanion._metadata_index(text, text) is 'Internal. The name of the index that index_metadata_key builds for a key.';

create function kompanion._being_built(
    index regclass
)
    returns boolean
    language plpgsql
    stable
    set search_path from current
as $_being_built$
-- Whether an invalid index may be one that another session is building: who builds concurrently holds this lock on the table to
-- the end, and nobody could drop or build an index against it. VACUUM holds it too. (What pg_stat_progress_create_index tells
-- of others, only some may see.) A standby does not see who builds on its primary, so there each may be.
begin
    return exists (select 1 from pg_index x where x.indexrelid = index and not x.indisvalid
                   and (pg_is_in_recovery() or exists (select 1 from pg_locks l
                        where l.relation = x.indrelid and l.mode = 'ShareUpdateExclusiveLock' and l.granted and l.pid <> pg_backend_pid()
                          and l.database = (select d.oid from pg_database d where d.datname = current_database()))));
end;
$_being_built$;
revoke all on function kompanion._being_built(regclass) from public;
comment on function kompanion._being_built(regclass) is 'Internal. Whether an invalid index may be one that another session is building.';

create function kompanion.index_metadata_key(
    key          text,
    type         text    default 'text',
    concurrently boolean default false
)
    returns setof text
    language plpgsql
    volatile
    set search_path from current
as $index_metadata_key$
-- Builds a b-tree for one metadata key, for ranges and selective equality; must be run by the owner of the tables.
-- Writers wait meanwhile. Concurrently, it builds nothing and only returns the statements, to be run outside a transaction.
-- A build that broke off has left an invalid index, which "if not exists" would keep: it is dropped first.
declare
    v_path      text := string_to_array(key, '.')::text;
    v_name      text := _metadata_index(key, type);
    v_how       text := case when index_metadata_key.concurrently then 'concurrently ' else '' end;
    v_broken    text[] := '{}';
    v_statement text;
begin
    perform _check_name('key', key);
    if type is null or type not in ('text', 'number') then
        raise exception using
            errcode = 'KM007',
            message = format('type: %s is unknown', coalesce(quote_literal(type), 'NULL')),
            hint    = 'Use text or number.';
    elsif left(key, 1) = '$' or '' = any (string_to_array(key, '.')) then
        perform _raise_bad_filter(format('key %L is no name of a field', left(key, 100)));
    end if;
    if index_metadata_key.concurrently is not true then
        perform from settings s where s.name = 'indexed_metadata' for no key update;  -- before 18 one of two who build the same would fail
    end if;
    if _being_built(to_regclass('kompanion.' || v_name)) then
        raise notice 'index_metadata_key: another session builds an index of memory_items, or vacuums it, just now';
        return;
    elsif exists (select 1 from pg_index x where x.indexrelid = to_regclass('kompanion.' || v_name) and not x.indisvalid) then
        v_broken := array[format('drop index %sif exists kompanion.%I', v_how, v_name)];
    end if;
    foreach v_statement in array v_broken || array[
        -- Collation C: jsonpath compares text by code point.
        format('create index %sif not exists %I on kompanion.memory_items (namespace_id, kompanion.metadata_%s(metadata, %L::text[])%s) '
               'where kompanion.metadata_%s(metadata, %L::text[]) is not null',
               v_how, v_name, type, v_path,
               case type when 'text' then ' collate "C"' else '' end, type, v_path),
        format('comment on index kompanion.%I is %L', v_name,
               format('Filters on metadata key %s as %s; made by index_metadata_key.', key, type))]
    loop
        if index_metadata_key.concurrently is not true then
            execute v_statement;
        end if;
        return next v_statement;
    end loop;
    -- From now on filters ask for the range too; without the index that is only superfluous.
    update settings s
    set value = s.value || jsonb_build_object(key, type), updated_at = now()
    where s.name = 'indexed_metadata';
end;
$index_metadata_key$;
revoke all on function kompanion.index_metadata_key(text, text, boolean) from public;
comment on function kompanion.index_metadata_key(text, text, boolean) is
    'Build a b-tree index for a hot metadata key, type text or number; filters that compare the key use it. Returns the statements. '
    'Run it as the owner of the tables; writers wait meanwhile, unless: select kompanion.index_metadata_key(''k'', ''number'', concurrently => true) \gexec.';
