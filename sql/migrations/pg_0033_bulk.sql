-- depends: pg_0032_retention
-- Writing many items, first half: staged in temporary tables, by COPY or from JSON, and checked.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._has_staging()
    returns boolean
    language plpgsql
    stable
    set search_path from current
as $_has_staging$
-- Whether this session has the staging tables. A role that the session had before may have made tables of their names, or
-- changed these: its triggers, rules, policies, defaults and indexes would run with the rights of whoever stages now.
declare
    c_names constant name[] := '{ord,item_id,namespace,namespace_id,key,content,metadata,tags,thread,user_key,expires_at,expected_revision,'
        'actor,created_at,ord,ordinal,content,start_offset,end_offset,vector}';
    c_types constant regtype[] := '{integer,uuid,text,uuid,text,text,jsonb,text[],text,text,timestamptz,integer,text,timestamptz,'
        'integer,integer,text,integer,integer,vector}';
    v_items  oid := to_regclass('pg_temp.staged_items');
    v_chunks oid := to_regclass('pg_temp.staged_chunks');
begin
    if v_items is null and v_chunks is null then
        return false;
    end if;
    if exists (select 1 from pg_class c where c.oid in (v_items, v_chunks)
               and (c.relkind <> 'r' or c.relhastriggers or c.relhasrules or c.relrowsecurity or c.relhasindex
                    or c.relchecks > 0 or c.relhassubclass or c.relispartition))
       or (select (array_agg(a.attname order by a.attrelid = v_chunks, a.attnum),
                   array_agg(a.atttypid::regtype order by a.attrelid = v_chunks, a.attnum),
                   array_agg(a.attname) filter (where a.atthasdef), bool_and(a.attcollation in (0, 100)))  -- 100: the default
           from pg_attribute a
           where a.attrelid in (v_items, v_chunks) and a.attnum > 0) is distinct from (c_names, c_types, array['item_id'::name], true)
       or exists (select 1 from pg_attrdef d where d.adrelid in (v_items, v_chunks)
                  and pg_get_expr(d.adbin, d.adrelid) not in ('gen_random_uuid()', '"gen_random_uuid"()')) then
        raise exception using
            errcode = 'KM007', message = 'staged_items, staged_chunks: are not as begin_staging makes them',
            hint    = 'They may be another role''s, of this session before: discard temp; then call begin_staging() and stage anew.';
    end if;
    return true;
end;
$_has_staging$;
revoke all on function kompanion._has_staging() from public;
comment on function kompanion._has_staging() is 'Internal. Whether the staging tables are there; KM007 when they are not as begin_staging makes them.';

create function kompanion.begin_staging()
    returns timestamptz
    language plpgsql
    volatile
    set search_path from current
    set client_min_messages = warning
as $begin_staging$
-- Makes the two staging tables of this session ready and empty; they empty themselves at the end of the transaction.
-- A staged item without rows in staged_chunks is one chunk; a staged chunk without content is the whole item.
begin
    if not _has_staging() then
        if not has_database_privilege(current_database(), 'temporary') then
            raise exception using
                errcode = '42501', message = format('%I may not create the temporary tables in which items are staged', current_user),
                hint    = format('Ask a DBA to run: grant temporary on database %I to %I;', current_database(), current_user);
        end if;
        create temporary table pg_temp.staged_items (
            ord               integer not null,
            item_id           uuid not null default gen_random_uuid(),
            namespace         text,
            namespace_id      uuid,
            key               text,
            content           text,
            metadata          jsonb,
            tags              text[],
            thread            text,
            user_key          text,
            expires_at        timestamptz,
            expected_revision integer,
            actor             text,
            created_at        timestamptz
        ) on commit delete rows;
        create temporary table pg_temp.staged_chunks (
            ord          integer not null,
            ordinal      integer not null,
            content      text,
            start_offset integer,
            end_offset   integer,
            vector       vector
        ) with (toast_tuple_target = 8160) on commit delete rows;  -- vectors stay in the row here, too
        -- Nobody else's session sees them; a role that this session takes on later is not their owner.
        grant select, insert, update, delete on pg_temp.staged_items, pg_temp.staged_chunks to public;
    else
        delete from pg_temp.staged_items;
        delete from pg_temp.staged_chunks;
    end if;
    return clock_timestamp();
end;
$begin_staging$;
revoke all on function kompanion.begin_staging() from public;
comment on function kompanion.begin_staging() is
    'Make the temporary tables staged_items and staged_chunks of this session ready; then COPY into them and call merge_staged in the same transaction. What was staged before and not merged is dropped, also by upsert_items, which stages in the same tables. Returns the time, to be given to merge_staged as created_at where batches are merged side by side.';

create function kompanion._check_staged_items()
    returns void
    language plpgsql
    volatile
    set search_path from current
as $_check_staged_items$
-- The rules for items one by one: the error names the item. The cheap tests in WHERE only spare calls that would pass.
begin
    perform _check_name(format('items[%s].key', s.ord), s.key)
    from pg_temp.staged_items s where s.key = '' or length(s.key) > 512;
    perform _check_name(format('items[%s].%s', s.ord, n.name), n.value)
    from pg_temp.staged_items s cross join lateral (values ('thread', s.thread), ('user_key', s.user_key)) n (name, value)
    where n.value = '' or length(n.value) > 512;
    perform _normalize_tags(s.tags, format('items[%s].', s.ord))
    from pg_temp.staged_items s
    where cardinality(s.tags) > 64 or exists (select 1 from unnest(s.tags) l (tag) where coalesce(length(l.tag), 0) not between 1 and 128);
    perform _check_content(s.content, format('items[%s].content', s.ord))
    from pg_temp.staged_items s where s.content is null or octet_length(s.content) > 4000000;
    perform _check_metadata(s.metadata, format('items[%s].metadata', s.ord))
    from pg_temp.staged_items s where s.metadata is not null and (jsonb_typeof(s.metadata) <> 'object' or pg_column_size(s.metadata) > 200);
    perform _expiry(s.expires_at, null, format('items[%s].', s.ord))
    from pg_temp.staged_items s where s.expires_at is not null;
    perform _check_moment(format('items[%s].created_at', s.ord), s.created_at)
    from pg_temp.staged_items s where s.created_at not between '0001-01-03 00:00:00+00' and '9999-12-29 00:00:00+00';
end;
$_check_staged_items$;
revoke all on function kompanion._check_staged_items() from public;
comment on function kompanion._check_staged_items() is 'Internal. Refuses a staged item that breaks a rule of upsert_item, by name.';

create function kompanion._check_staged_chunks()
    returns void
    language plpgsql
    volatile
    set search_path from current
as $_check_staged_chunks$
-- The rules for chunks: texts and offsets that fit the content, ordinals without gaps, vectors only for chunks.
declare
    v_wrong bigint;
begin
    perform _check_chunks(i.content, c.texts, c.starts, c.ends, format('items[%s].', i.ord))
    from (select s.ord, array_agg(s.content order by s.ordinal) as texts, array_agg(s.start_offset order by s.ordinal) as starts,
                 array_agg(s.end_offset order by s.ordinal) as ends
          from pg_temp.staged_chunks s where s.content is not null group by 1) c
    join pg_temp.staged_items i on i.ord = c.ord;
    select min(w.ord) into v_wrong
    from (select c.ord from pg_temp.staged_chunks c join pg_temp.staged_items s on s.ord = c.ord
               group by c.ord having bool_or(c.content is null) and (count(*) > 1 or count(c.start_offset) + count(c.end_offset) > 0)
                                  or bool_or(c.content is null and not _is_visible(s.content))) w;
    if v_wrong is not null then
        raise exception using
            errcode = 'KM007', message = format('items[%s].vectors: there are more vectors or offsets than chunks', v_wrong),
            hint    = 'Give one start, one end and at most one vector for each chunk; content without chunks given is one chunk.';
    end if;
    if exists (select 1 from pg_temp.staged_chunks c group by c.ord having min(c.ordinal) <> 0 or max(c.ordinal) <> count(*) - 1
                                                                or count(distinct c.ordinal) <> count(*)) then
        raise exception using
            errcode = 'KM007', message = 'staged_chunks: the ordinals of an item have gaps or repeat',
            hint    = 'Number the chunks of an item 0, 1, 2 ...';
    end if;
end;
$_check_staged_chunks$;
revoke all on function kompanion._check_staged_chunks() from public;
comment on function kompanion._check_staged_chunks() is 'Internal. Refuses staged chunks that do not fit their item, by name.';

create function kompanion._check_staged(
    model_id integer,
    dim      integer,
    metric   text
)
    returns void
    language plpgsql
    volatile
    set search_path from current
as $_check_staged$
-- Every rule of upsert_item for the rows that are staged. One look at each row tells whether any might break one;
-- only then each rule is asked by itself, to name the item and what is wrong with it.
declare
    v_wrong  bigint;
    v_items  record;
    v_chunks record;
begin
    update pg_temp.staged_items s set namespace_id = namespace_id(s.namespace)
    where s.namespace_id is null;
    -- Materialized, so that each namespace is looked at once and not each row; one that is registered and live needs no more.
    with spaces as materialized (
        select d.namespace, d.namespace_id
        from (select distinct s.namespace, s.namespace_id from pg_temp.staged_items s) d
        where not exists (select 1 from namespaces n
                          where n.namespace_id = d.namespace_id and n.path = d.namespace and n.deleted_at is null)
        order by 1, 2
    )
    select count(*) filter (where ensure_namespace(n.namespace) <> n.namespace_id) into v_wrong from spaces n;
    if v_wrong > 0 then
        raise exception using
            errcode = 'KM002', message = 'namespace_id: is not that of namespace', hint = 'Leave namespace_id NULL, or give namespace_id(namespace).';
    end if;
    select bool_or(s.key = '' or length(s.key) > 512 or s.thread = '' or length(s.thread) > 512
                   or s.user_key = '' or length(s.user_key) > 512
                   or s.content is null or octet_length(s.content) > 4000000
                   or jsonb_typeof(s.metadata) <> 'object' or pg_column_size(s.metadata) > 200
                   or s.expires_at <= now() or s.expires_at > '9999-12-29 00:00:00+00'
                   or s.created_at not between '0001-01-03 00:00:00+00' and '9999-12-29 00:00:00+00'
                   -- No tag is empty, NULL or longer than 128, nor are there more than 64, when all of them together are short.
                   or (s.tags <> '{}' and (octet_length(array_to_string(s.tags, chr(1), '')) > 128
                       or strpos(chr(1) || array_to_string(s.tags, chr(1), '') || chr(1), chr(1) || chr(1)) > 0))) as odd,
           -- A query of its own: an aggregate of distinct values would sort the rows whole.
           (select count(distinct s.ord) from pg_temp.staged_items s) <> count(*) as repeated,
           min(s.ord) as first, max(s.ord) as last, max(s.ord)::bigint - min(s.ord) >= count(*) as gaps
    into v_items
    from pg_temp.staged_items s;
    if v_items.odd then
        perform _check_staged_items();
    end if;
    -- Ordinals without repeats, whole contents, vectors that fit: what nearly every chunk is.
    select bool_or(c.ordinal <> 0 or c.content is not null or c.start_offset is not null or c.end_offset is not null)
               or (select count(distinct c.ord) from pg_temp.staged_chunks c) <> count(*) as odd,
           bool_or(vector_dims(c.vector) <> dim or vector_norm(c.vector) not between 1e-3 * sqrt(dim) and 65504) as odd_vector, min(c.ord) as first, max(c.ord) as last
    into v_chunks
    from pg_temp.staged_chunks c;
    -- Looked for one by one only where the items are not numbered without gaps, as nearly all are.
    if v_items.repeated
       or (v_chunks.first >= v_items.first and v_chunks.last <= v_items.last and not v_items.gaps) is not true
          and exists (select 1 from pg_temp.staged_chunks c where not exists (select 1 from pg_temp.staged_items s where s.ord = c.ord)) then
        raise exception using
            errcode = 'KM007',
            message = case when v_items.repeated then 'staged_items: an ord repeats' else 'staged_chunks: the ord of a chunk is that of no item' end,
            hint    = 'Number the items, each with a number of its own, and give it to their chunks.';
    end if;
    if v_chunks.odd or exists (select 1 from pg_temp.staged_items s
                               where not ascii(s.content) between 33 and 126 and not _is_visible(s.content)
                                 and exists (select 1 from pg_temp.staged_chunks c where c.ord = s.ord)) then
        perform _check_staged_chunks();
    end if;
    if v_chunks.odd_vector then
        perform _check_vector(format('items[%s].vectors[%s]', c.ord, c.ordinal + 1), c.vector, dim, metric, model_id)
        from pg_temp.staged_chunks c
        where c.vector is not null;
    end if;
end;
$_check_staged$;
revoke all on function kompanion._check_staged(integer, integer, text) from public;
comment on function kompanion._check_staged(integer, integer, text) is 'Internal. The rules of upsert_item for staged rows.';
