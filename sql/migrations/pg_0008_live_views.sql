-- depends: pg_0007_invariants
-- The documented way to read: views that hide what is expired, deleted, or in a deleted namespace; and how lists of it are paged.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create view kompanion.live_namespaces as
select n.namespace_id, n.path, n.segments, n.created_at
from kompanion.namespaces n
where n.deleted_at is null;

create view kompanion.live_items as
select n.path as namespace, i.namespace_id, i.item_id, i.key, i.content, i.metadata, i.tags,
       t.key as thread, u.key as user_key, i.actor, i.revision, i.content_revision,
       i.created_at, i.updated_at, i.expires_at, i.thread_id, i.user_id
from kompanion.memory_items i
join kompanion.live_namespaces n on n.namespace_id = i.namespace_id
left join kompanion.threads t on t.namespace_id = i.namespace_id and t.thread_id = i.thread_id
left join kompanion.users u on u.namespace_id = i.namespace_id and u.user_id = i.user_id
where kompanion.is_live(i.deleted_at, i.expires_at);

create view kompanion.live_chunks as
select n.path as namespace, c.namespace_id, c.chunk_id, c.item_id, i.key, c.ordinal, c.content, c.start_offset, c.end_offset,
       c.revision, c.created_at
from kompanion.memory_chunks c
join kompanion.memory_items i on i.namespace_id = c.namespace_id and i.item_id = c.item_id
join kompanion.live_namespaces n on n.namespace_id = c.namespace_id
where kompanion.is_live(i.deleted_at, i.expires_at);

create view kompanion.live_embeddings as
select n.path as namespace, e.namespace_id, e.chunk_id, e.item_id, m.name as model, e.model_id, e.dim, e.thread_id, e.tags,
       e.expires_at, e.vector, e.created_at
from kompanion.embeddings e
join kompanion.live_namespaces n on n.namespace_id = e.namespace_id
join kompanion.embedding_models m on m.model_id = e.model_id
where kompanion.is_live(e.deleted_at, e.expires_at) and m.retired_at is null;

comment on view kompanion.live_namespaces is 'Namespaces that are not deleted.';
comment on view kompanion.live_items is 'Items as a reader sees them: not deleted, not expired, in a live namespace; with the names of thread and user.';
comment on view kompanion.live_chunks is 'Chunks of live items.';
comment on view kompanion.live_embeddings is 'Vectors of live items and models in use.';

-- Row security is to see the caller, not the owner of the view; the option exists since PostgreSQL 15.
create function kompanion._secure_views()
    returns void
    language plpgsql
    volatile
    set search_path from current
as $_secure_views$
-- Again by grant_roles: views that came from PostgreSQL 14, by a dump or pg_upgrade, are without it.
declare
    v_view text;
begin
    if current_setting('server_version_num')::integer >= 150000 then
        for v_view in
            select c.relname from pg_class c
            where c.relnamespace = 'kompanion'::regnamespace and c.relname in ('live_namespaces', 'live_items', 'live_chunks', 'live_embeddings')
              and not coalesce('security_invoker=true' = any (c.reloptions), false)
        loop
            execute format('alter view kompanion.%I set (security_invoker = true)', v_view);
        end loop;
    end if;
end;
$_secure_views$;
revoke all on function kompanion._secure_views() from public;
comment on function kompanion._secure_views() is 'Internal. The views show a caller what row security lets it see, where the server can.';
do $$ begin perform kompanion._secure_views(); end $$;

-- What each column is, is said once, on the table it comes from.
do $$
declare
    r record;
begin
    for r in
        select v.relname as view_name, a.attname, coalesce(
            (select col_description(t.oid, ta.attnum)
             from unnest(case v.relname
                         when 'live_namespaces' then array['namespaces']
                         when 'live_items'      then array['memory_items']
                         when 'live_chunks'     then array['memory_chunks', 'memory_items']
                         else array['embeddings'] end) with ordinality as s (name, n)
             join pg_class t on t.relname = s.name and t.relnamespace = v.relnamespace
             join pg_attribute ta on ta.attrelid = t.oid and ta.attname = a.attname
             order by s.n limit 1),
            case a.attname
                when 'namespace' then 'Path of the namespace.'
                when 'thread'    then 'Key of the thread.'
                when 'user_key'  then 'Key of the user.'
                when 'model'     then 'Name of the model.'
            end) as description
        from pg_class v
        join pg_attribute a on a.attrelid = v.oid and a.attnum > 0
        where v.relnamespace = 'kompanion'::regnamespace and v.relkind = 'v'
    loop
        execute format('comment on column kompanion.%I.%I is %L', r.view_name, r.attname, r.description);
    end loop;
end
$$;

create function kompanion._check_page(
    page_size integer
)
    returns void
    language plpgsql
    immutable parallel safe
    set search_path from current
as $_check_page$
-- Pages have 1 to 10,000 rows: one page is one answer in memory.
begin
    if page_size is null or page_size not between 1 and 10000 then
        raise exception using
            errcode = 'KM007',
            message = format('page_size: %s is not between 1 and 10000', coalesce(page_size::text, 'NULL')),
            hint    = 'Read page by page: pass the last row''s cursor as after.';
    end if;
end;
$_check_page$;
revoke all on function kompanion._check_page(integer) from public;
comment on function kompanion._check_page(integer) is 'Internal. KM007 unless a page has 1 to 10,000 rows.';

create function kompanion._write_cursor(at timestamptz, id uuid)
    returns text
    language sql
    immutable parallel safe
return (extract(epoch from at) * 1000000)::bigint || '/' || id;
revoke all on function kompanion._write_cursor(timestamptz, uuid) from public;
comment on function kompanion._write_cursor(timestamptz, uuid) is
    'Internal. The place of a row in a list, as text to hand back as after.';

create function kompanion._read_cursor(
    cursor text,
    out at timestamptz,
    out id uuid
)
    language plpgsql
    immutable parallel unsafe  -- no subtransaction can be where workers are
    set search_path from current
as $_read_cursor$
-- The place a cursor names; NULLs for no cursor.
declare
    v_at bigint;
begin
    if cursor is not null then
        v_at := split_part(cursor, '/', 1);
        -- The factor of an interval is a float8: all microseconds at once would be rounded before 1684 and after 2255.
        at := timestamptz 'epoch' + v_at / 3600000000 * interval '1 hour' + v_at % 3600000000 * interval '1 microsecond';
        id := split_part(cursor, '/', 2)::uuid;
    end if;
exception when data_exception then
    raise exception using
        errcode = 'KM007',
        message = format('after: %L is no cursor', left(cursor, 100)),
        hint    = 'Pass the cursor of the last row of the page before, as it is.';
end;
$_read_cursor$;
revoke all on function kompanion._read_cursor(text) from public;
comment on function kompanion._read_cursor(text) is 'Internal. The place a cursor names; KM007 for one that is none.';
