-- depends: pg_0008_live_views
-- Namespaces, users and threads: made on first use, listed, deleted with a way back.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._scope_end(segments text[])
    returns text[]
    language sql
    immutable parallel safe
-- chr(1) is in no segment and sorts before all that are: from the segments of a scope to this are exactly the paths that start with it.
return segments[1 : cardinality(segments) - 1] || (segments[cardinality(segments)] || chr(1));
revoke all on function kompanion._scope_end(text[]) from public;
comment on function kompanion._scope_end(text[]) is 'Internal. The first segments after all that start with these.';

create function kompanion._scope_ids(
    scope text
)
    returns uuid[]
    language plpgsql
    stable
    set search_path from current
    set plan_cache_mode = force_generic_plan
as $_scope_ids$
-- The live namespaces at or below a scope. NULL means all there are: '*' while nothing is deleted.
declare
    v_segments text[];
begin
    if scope = '*' then
        if exists (select 1 from namespaces n where n.deleted_at is not null) then
            return array(select n.namespace_id from live_namespaces n);
        end if;
        return null;
    end if;
    v_segments := namespace_segments(scope);
    return array(
        select n.namespace_id
        from live_namespaces n
        where n.segments >= v_segments
          and n.segments < _scope_end(v_segments)
    );
end;
$_scope_ids$;
revoke all on function kompanion._scope_ids(text) from public;
comment on function kompanion._scope_ids(text) is
    'Internal. Ids of the live namespaces whose segments start with those of the scope; NULL for all of them.';

create function kompanion._ids_above(
    segments text[]
)
    returns uuid[]
    language plpgsql
    immutable parallel safe
    set search_path from current
as $_ids_above$
-- Namespaces above a path of these segments are those of all their beginnings.
begin
    return array(select namespace_id(array_to_string(segments[1:g], ':')) from generate_series(1, cardinality(segments) - 1) g);
end;
$_ids_above$;
revoke all on function kompanion._ids_above(text[]) from public;
comment on function kompanion._ids_above(text[]) is 'Internal. Ids of the namespaces above a path, registered or not.';

create function kompanion.ensure_namespace(
    path text
)
    returns uuid
    language plpgsql
    volatile
    set search_path from current
as $ensure_namespace$
-- Returns the id of a namespace that may be written to, registering it on first use.
declare
    v_id       uuid;
    v_segments text[];
    v_deleted  text;
begin
    -- As namespace_id, less the check of the path: the path of a row that is there has passed it.
    select n.namespace_id, case when n.deleted_at is not null then n.path end into v_id, v_deleted
    from namespaces n
    where n.namespace_id = encode(substr(sha256(convert_to(ensure_namespace.path, 'UTF8'::name)), 1, 16), 'hex')::uuid;
    if not found then
        v_id := namespace_id(path);
        v_segments := namespace_segments(path);
        -- Taken before looking: delete_namespace, which excludes it, cannot slip in between the look and the insert.
        lock table namespaces in row exclusive mode;
        select n.path into v_deleted
        from namespaces n
        where n.namespace_id = any (_ids_above(v_segments)) and n.deleted_at is not null
        order by n.segments
        limit 1;
        if v_deleted is null then
            -- The snapshot of a higher level may be older than a delete of one above, which may have left a row of its own: a
            -- conflict with a row that it does not see is a 40001, to be tried again. None of these rows is to stay. The lowest
            -- first: row security may forbid those further up, of which it shows no delete at any level.
            if current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
                begin
                    insert into namespaces (namespace_id, path, segments)
                    select namespace_id(a.path), a.path, namespace_segments(a.path)
                    from (select array_to_string(v_segments[1:g], ':') as path from generate_series(cardinality(v_segments) - 1, 1, -1) g) a
                    on conflict do nothing;
                    raise sqlstate 'KMUND';
                exception when sqlstate 'KMUND' or insufficient_privilege then
                    null;
                end;
            end if;
            insert into namespaces (namespace_id, path, segments) values (v_id, path, v_segments)
            on conflict do nothing;
        end if;
    end if;
    if v_deleted is not null then
        raise exception using
            errcode = 'KM009',
            message = format('namespace %L is deleted', v_deleted),
            hint    = format('Bring it back with restore_namespace(%L), or let purge remove it and start anew.', v_deleted);
    end if;
    return v_id;
end;
$ensure_namespace$;
revoke all on function kompanion.ensure_namespace(text) from public;
comment on function kompanion.ensure_namespace(text) is
    'Register a namespace on first use; returns its id. Writing functions call it. KM002 for a bad path, KM009 when it or one above is deleted.';

create function kompanion.list_namespaces(
    scope           text    default '*',
    include_deleted boolean default false,
    page_size       integer default 100,
    after           text    default null
)
    returns table (namespace text, namespace_id uuid, created_at timestamptz, deleted_at timestamptz)
    language plpgsql
    stable
    set search_path from current
as $list_namespaces$
-- One page of the namespaces at or below a scope, in order of their segments.
declare
    v_segments text[] := case when scope = '*' then '{}' else namespace_segments(scope) end;
    v_after    text[] := case when after is null then '{}' else namespace_segments(after) end;
    v_end      text[] := case when scope <> '*' then _scope_end(v_segments) end;
begin
    perform _check_page(page_size);
    return query
    select n.path, n.namespace_id, n.created_at, n.deleted_at
    from namespaces n
    where n.segments >= v_segments and n.segments > v_after and (v_end is null or n.segments < v_end)
      and n.segments[1:cardinality(v_segments)] = v_segments
      and (include_deleted or n.deleted_at is null)
    order by n.segments
    limit page_size;
end;
$list_namespaces$;
revoke all on function kompanion.list_namespaces(text, boolean, integer, text) from public;
comment on function kompanion.list_namespaces(text, boolean, integer, text) is
    'Namespaces at or below a scope, in order; next page: after => the last namespace of this one.';

create function kompanion.delete_namespace(
    path text
)
    returns integer
    language plpgsql
    volatile
    set search_path from current
as $delete_namespace$
-- Hides a namespace and all below it at once; purge removes them after the retention.
declare
    v_segments text[] := namespace_segments(path);
    v_end      text[] := _scope_end(v_segments);
    v_count    integer;
begin
    perform _check_isolation('delete_namespace');
    lock table namespaces in share row exclusive mode;  -- waits for namespaces that are just being registered below it
    if not exists (select 1 from namespaces n
                   where n.segments >= v_segments and n.segments < v_end and n.segments[1:cardinality(v_segments)] = v_segments) then
        raise exception using
            errcode = 'KM003',
            message = format('there is no namespace at or below %L', path),
            hint    = 'See list_namespaces().';
    end if;
    -- A row for the path itself, so that nothing new can be written below it.
    insert into namespaces (namespace_id, path, segments) values (namespace_id(path), path, v_segments) on conflict do nothing;
    update namespaces n
    set deleted_at = now()
    where n.segments >= v_segments and n.segments < v_end and n.segments[1:cardinality(v_segments)] = v_segments
      and n.deleted_at is null;
    get diagnostics v_count = row_count;
    return v_count;
end;
$delete_namespace$;
revoke all on function kompanion.delete_namespace(text) from public;
comment on function kompanion.delete_namespace(text) is
    'Soft-delete a namespace and all below it; returns how many were hidden. restore_namespace brings them back until purge. Needs isolation level read committed. KM003 when there is none.';

create function kompanion.restore_namespace(
    path text
)
    returns integer
    language plpgsql
    volatile
    set search_path from current
as $restore_namespace$
-- Brings back a namespace with all that was deleted together with it.
declare
    v_segments text[] := namespace_segments(path);
    v_end      text[] := _scope_end(v_segments);
    v_deleted  timestamptz;
    v_above    text;
    v_count    integer;
begin
    perform _check_isolation('restore_namespace');
    -- Taken before looking, as in ensure_namespace: one above cannot be deleted between the look and the update.
    lock table namespaces in row exclusive mode;
    select n.deleted_at into v_deleted from namespaces n where n.namespace_id = namespace_id(restore_namespace.path);
    if not found then
        raise exception using
            errcode = 'KM003',
            message = format('there is no namespace %L', path),
            hint    = 'See list_namespaces(include_deleted => true).';
    end if;
    select n.path into v_above
    from namespaces n
    where n.namespace_id = any (_ids_above(v_segments)) and n.deleted_at is not null
    order by n.segments
    limit 1;
    if v_above is not null then
        raise exception using
            errcode = 'KM009',
            message = format('namespace %L, above it, is deleted', v_above),
            hint    = format('Bring that back first: restore_namespace(%L).', v_above);
    end if;
    update namespaces n
    set deleted_at = null
    where n.segments >= v_segments and n.segments < v_end and n.segments[1:cardinality(v_segments)] = v_segments
      and n.deleted_at = v_deleted;
    get diagnostics v_count = row_count;
    return v_count;
end;
$restore_namespace$;
revoke all on function kompanion.restore_namespace(text) from public;
comment on function kompanion.restore_namespace(text) is
    'Bring back a soft-deleted namespace and what was deleted together with it; returns how many. Needs isolation level read committed. KM003 when there is none, KM009 when one above is deleted.';
