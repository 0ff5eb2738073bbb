-- depends: pg_0009_namespaces
-- Users and threads: named on first use; a closed thread takes no new memories.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._user_id(
    namespace_id uuid,
    key          text
)
    returns uuid
    language plpgsql
    volatile
    set search_path from current
as $_user_id$
-- The id of a user, registered on first use; NULL for no user.
declare
    v_id uuid;
begin
    if key is null then
        return null;
    end if;
    -- Locked as its foreign key will: whoever deletes it by hand just now is waited for, and it is registered anew.
    select u.user_id into v_id from users u where u.namespace_id = _user_id.namespace_id and u.key = _user_id.key for key share;
    if found then
        return v_id;
    end if;
    perform _check_name('user_key', key);
    -- Not "do update": it would lock a racing writer's row against that writer's own items, and the two could deadlock.
    insert into users (namespace_id, key) values (_user_id.namespace_id, _user_id.key)
    on conflict on constraint users_namespace_key_uq do nothing
    returning users.user_id into v_id;
    if not found then
        select u.user_id into v_id from users u where u.namespace_id = _user_id.namespace_id and u.key = _user_id.key;
    end if;
    if v_id is null then
        raise exception using
            errcode = '42501', message = format('user_key: %L is taken by a user hidden from this role, or refused by a trigger', key),
            hint    = 'Use another key, or ask who made the policies and triggers of users.';
    end if;
    return v_id;
end;
$_user_id$;
revoke all on function kompanion._user_id(uuid, text) from public;
comment on function kompanion._user_id(uuid, text) is 'Internal. The id of a user, registered on first use.';

create function kompanion._thread_id(
    namespace_id uuid,
    key          text
)
    returns uuid
    language plpgsql
    volatile
    set search_path from current
as $_thread_id$
-- The id of a thread that takes new memories, registered on first use; NULL for no thread.
declare
    v_id     uuid;
    v_closed timestamptz;
begin
    if key is null then
        return null;
    end if;
    select t.thread_id, t.closed_at into v_id, v_closed
    from threads t
    where t.namespace_id = _thread_id.namespace_id and t.key = _thread_id.key
    for key share;  -- as in _user_id
    if not found then
        perform _check_name('thread', key);
        insert into threads (namespace_id, key) values (_thread_id.namespace_id, _thread_id.key)
        on conflict on constraint threads_namespace_key_uq do nothing  -- as in _user_id
        returning threads.thread_id, threads.closed_at into v_id, v_closed;
        if not found then
            select t.thread_id, t.closed_at into v_id, v_closed
            from threads t
            where t.namespace_id = _thread_id.namespace_id and t.key = _thread_id.key;
        end if;
    end if;
    if v_id is null then
        raise exception using
            errcode = '42501', message = format('thread: %L is taken by a thread hidden from this role, or refused by a trigger', key),
            hint    = 'Use another key, or ask who made the policies and triggers of threads.';
    elsif v_closed is not null then
        raise exception using
            errcode = 'KM010',
            message = format('thread %L is closed since %s', key, v_closed),
            hint    = 'Write to another thread, or reopen it: ensure_thread(namespace, key, reopen => true).';
    end if;
    return v_id;
end;
$_thread_id$;
revoke all on function kompanion._thread_id(uuid, text) from public;
comment on function kompanion._thread_id(uuid, text) is
    'Internal. The id of an open thread, registered on first use; KM010 when it is closed.';

create function kompanion.ensure_user(
    namespace    text,
    key          text,
    display_name text  default null,
    metadata     jsonb default null
)
    returns uuid
    language plpgsql
    volatile
    set search_path from current
as $ensure_user$
-- Registers a user, or updates what is given; what is not given stays.
declare
    v_namespace_id uuid := ensure_namespace(namespace);
    v_id           uuid;
begin
    perform _check_name('key', key);
    perform _check_metadata(metadata);
    insert into users as u (namespace_id, key, display_name, metadata)
    values (v_namespace_id, ensure_user.key, ensure_user.display_name, coalesce(ensure_user.metadata, '{}'))
    on conflict on constraint users_namespace_key_uq do update
        set display_name = coalesce(excluded.display_name, u.display_name),
            metadata = case when ensure_user.metadata is null then u.metadata else excluded.metadata end
    returning u.user_id into v_id;
    return v_id;
end;
$ensure_user$;
revoke all on function kompanion.ensure_user(text, text, text, jsonb) from public;
comment on function kompanion.ensure_user(text, text, text, jsonb) is
    'Register a user of a namespace, or update display name and metadata where given; returns the user''s id.';

create function kompanion.ensure_thread(
    namespace text,
    key       text,
    title     text    default null,
    metadata  jsonb   default null,
    reopen    boolean default false
)
    returns uuid
    language plpgsql
    volatile
    set search_path from current
as $ensure_thread$
-- Registers a thread, or updates what is given; what is not given stays.
declare
    v_namespace_id uuid := ensure_namespace(namespace);
    v_id           uuid;
begin
    perform _check_name('key', key);
    perform _check_metadata(metadata);
    insert into threads as t (namespace_id, key, title, metadata)
    values (v_namespace_id, ensure_thread.key, ensure_thread.title, coalesce(ensure_thread.metadata, '{}'))
    on conflict on constraint threads_namespace_key_uq do update
        set title = coalesce(excluded.title, t.title),
            metadata = case when ensure_thread.metadata is null then t.metadata else excluded.metadata end,
            closed_at = case when ensure_thread.reopen then null else t.closed_at end
    returning t.thread_id into v_id;
    return v_id;
end;
$ensure_thread$;
revoke all on function kompanion.ensure_thread(text, text, text, jsonb, boolean) from public;
comment on function kompanion.ensure_thread(text, text, text, jsonb, boolean) is
    'Register a thread of a namespace, or update title and metadata where given; reopen => true opens a closed one. Returns the thread''s id.';

create function kompanion.close_thread(
    namespace text,
    key       text
)
    returns timestamptz
    language plpgsql
    volatile
    set search_path from current
as $close_thread$
-- From now on the thread takes no new memories; those it has stay readable. Closing twice keeps the first moment.
declare
    v_closed timestamptz;
begin
    update threads t
    set closed_at = coalesce(t.closed_at, now())
    where t.namespace_id = namespace_id(namespace) and t.key = close_thread.key
    returning t.closed_at into v_closed;
    if not found then
        raise exception using
            errcode = 'KM003',
            message = format('there is no thread %s in namespace %L', coalesce(quote_literal(close_thread.key), 'NULL'), namespace),
            hint    = 'See list_threads().';
    end if;
    return v_closed;
end;
$close_thread$;
revoke all on function kompanion.close_thread(text, text) from public;
comment on function kompanion.close_thread(text, text) is
    'Close a thread: readable, but writing to it is KM010 from then on; what revert_item brings back goes where it was. Returns when it was closed. KM003 when there is none.';

create function kompanion.list_threads(
    scope     text,
    page_size integer default 100,
    after     text    default null
)
    returns table (namespace text, thread text, title text, metadata jsonb, created_at timestamptz, closed_at timestamptz, cursor text)
    language plpgsql
    stable
    set search_path from current
as $list_threads$
-- One page of the threads in a scope, newest first.
declare
    v_ids uuid[] := _scope_ids(scope);
    v_at  timestamptz;
    v_id  uuid;
begin
    perform _check_page(page_size);
    select c.at, c.id into v_at, v_id from _read_cursor(after) c;
    return query
    select n.path, t.key, t.title, t.metadata, t.created_at, t.closed_at, _write_cursor(t.created_at, t.thread_id)
    from threads t
    join live_namespaces n on n.namespace_id = t.namespace_id
    where (v_ids is null or t.namespace_id = any (v_ids))
      and (after is null or (t.created_at, t.thread_id) < (v_at, v_id))
    order by t.created_at desc, t.thread_id desc
    limit page_size;
end;
$list_threads$;
revoke all on function kompanion.list_threads(text, integer, text) from public;
comment on function kompanion.list_threads(text, integer, text) is
    'Threads in a scope, newest first; next page: after => the cursor of the last row.';
