-- depends: pg_0014_upsert
-- The life of an item after it was written: delete, restore, touch, revert. Each is a forward revision.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion.delete_item(
    namespace         text,
    key               text,
    expected_revision integer default null,
    actor             text    default null
)
    returns table (item_id uuid, revision integer, status text)
    language plpgsql
    volatile
    set search_path from current
    set plan_cache_mode = force_generic_plan  -- by the whole key, also in a namespace that the statistics do not know
as $delete_item$
-- Hides an item; its row and history stay until purge. Deleting what is deleted changes nothing.
declare
    v_namespace_id uuid := namespace_id(namespace);
    v_item         record;
begin
    select * into v_item from _lock_item(v_namespace_id, namespace, key, expected_revision);
    if v_item.item_id is null then
        perform _raise_no_item(namespace, key);
    end if;
    item_id := v_item.item_id; revision := v_item.revision; status := 'unchanged';
    update memory_items i
    set deleted_at = clock_timestamp(), actor = delete_item.actor
    where i.namespace_id = v_namespace_id and i.item_id = v_item.item_id and i.deleted_at is null
    returning i.revision, 'deleted' into delete_item.revision, status;
    if not found then
        revision := v_item.revision; status := 'unchanged';
    end if;
    return next;
end;
$delete_item$;
revoke all on function kompanion.delete_item(text, text, integer, text) from public;
comment on function kompanion.delete_item(text, text, integer, text) is
    'Soft-delete an item, as a new revision; status deleted or unchanged. restore_item undoes it until purge. KM003 when there is none, KM001 when expected_revision is stale.';

create function kompanion.restore_item(
    namespace  text,
    key        text,
    expires_at timestamptz default null,
    ttl        interval    default null,
    actor      text        default null
)
    returns table (item_id uuid, revision integer, status text)
    language plpgsql
    volatile
    set search_path from current
    set plan_cache_mode = force_generic_plan  -- by the whole key, also in a namespace that the statistics do not know
as $restore_item$
-- Brings a deleted or expired item back as it was, as a new revision. An expiry that is past is lifted unless a new one is given.
declare
    v_namespace_id uuid := ensure_namespace(namespace);
    v_expires_at   timestamptz := _expiry(expires_at, ttl);
    v_item         record;
begin
    select * into v_item from _lock_item(v_namespace_id, namespace, key, null);
    if v_item.item_id is null then
        perform _raise_no_item(namespace, key);
    end if;
    item_id := v_item.item_id; revision := v_item.revision; status := 'unchanged';
    if not v_item.is_live then
        update memory_items i
        set deleted_at = null, actor = restore_item.actor,
            expires_at = coalesce(v_expires_at, case when is_live(null, i.expires_at) then i.expires_at end)
        where i.namespace_id = v_namespace_id and i.item_id = v_item.item_id
        returning i.revision, 'restored' into restore_item.revision, status;
    end if;
    return next;
end;
$restore_item$;
revoke all on function kompanion.restore_item(text, text, timestamptz, interval, text) from public;
comment on function kompanion.restore_item(text, text, timestamptz, interval, text) is
    'Bring back a deleted or expired item, as a new revision; status restored, or unchanged when it is live. KM003 when there is none or it was purged.';

create function kompanion.touch_item(
    namespace  text,
    key        text,
    expires_at timestamptz default null,
    ttl        interval    default null,
    actor      text        default null
)
    returns table (item_id uuid, revision integer, status text, expires_at_now timestamptz)
    language plpgsql
    volatile
    set search_path from current
    set plan_cache_mode = force_generic_plan  -- by the whole key, also in a namespace that the statistics do not know
as $touch_item$
-- Lets a live item live longer. Never shortens: an item that would live longer anyway, or for ever, is unchanged.
declare
    v_namespace_id uuid := ensure_namespace(namespace);
    v_expires_at   timestamptz := _expiry(expires_at, ttl);
    v_item         record;
begin
    if v_expires_at is null then
        raise exception using
            errcode = 'KM007',
            message = 'expires_at, ttl: neither is given',
            hint    = 'Say how long it is to live: ttl => interval ''30 days''.';
    end if;
    select * into v_item from _lock_item(v_namespace_id, namespace, key, null);
    if v_item.is_live is not true then
        perform _raise_no_item(namespace, key);
    end if;
    update memory_items i
    set expires_at = v_expires_at, actor = touch_item.actor
    where i.namespace_id = v_namespace_id and i.item_id = v_item.item_id and i.expires_at < v_expires_at;
    return query
    select i.item_id, i.revision, case when i.revision = v_item.revision then 'unchanged' else 'revised' end, i.expires_at
    from memory_items i
    where i.namespace_id = v_namespace_id and i.item_id = v_item.item_id;
end;
$touch_item$;
revoke all on function kompanion.touch_item(text, text, timestamptz, interval, text) from public;
comment on function kompanion.touch_item(text, text, timestamptz, interval, text) is
    'Extend the life of a live item, never shorten it; status revised or unchanged. KM003 when there is no live item of that name.';

create function kompanion.revert_item(
    namespace         text,
    key               text,
    revision          integer,
    expected_revision integer default null,
    actor             text    default null
)
    returns table (item_id uuid, revision_now integer, status text)
    language plpgsql
    volatile
    set search_path from current
    set plan_cache_mode = force_generic_plan  -- by the whole key, also in a namespace that the statistics do not know
as $revert_item$
-- Makes an item again what it was at a revision, as a new one: history only goes forward.
-- Its expiry then is taken over unless it is past by now; reverting to a deletion is delete_item's work.
declare
    v_namespace_id uuid := ensure_namespace(namespace);
    v_item         record;
    v_former       record;
begin
    select * into v_item from _lock_item(v_namespace_id, namespace, key, expected_revision);
    if v_item.item_id is null then
        perform _raise_no_item(namespace, key);
    end if;
    select h.* into v_former
    from item_history(namespace, key) h
    where h.revision = revert_item.revision;
    if not found or v_former.deleted_at is not null then
        raise exception using
            errcode = 'KM003',
            message = format('revision: %L has no revision %s to go back to', key, coalesce(revision::text, 'NULL')),
            detail  = case when v_former.deleted_at is null then 'It may never have existed, or its retention is over.'
                      else 'That revision is a deletion.' end,
            hint    = 'See item_history(namespace, key).';
    end if;
    update memory_items i
    set content = v_former.content, metadata = v_former.metadata, tags = v_former.tags,
        thread_id = (select t.thread_id from threads t where t.namespace_id = v_namespace_id and t.key = v_former.thread for key share),
        user_id = (select u.user_id from users u where u.namespace_id = v_namespace_id and u.key = v_former.user_key for key share),
        expires_at = case when is_live(null, v_former.expires_at) then v_former.expires_at end,
        deleted_at = null, actor = revert_item.actor
    where i.namespace_id = v_namespace_id and i.item_id = v_item.item_id
    returning i.revision, 'revised' into revision_now, status;
    item_id := v_item.item_id;
    if not found then
        revision_now := v_item.revision; status := 'unchanged';
    end if;
    return next;
end;
$revert_item$;
revoke all on function kompanion.revert_item(text, text, integer, integer, text) from public;
comment on function kompanion.revert_item(text, text, integer, integer, text) is
    'Make an item again what it was at a revision, as a new revision; status revised or unchanged. Changed content waits for new vectors. KM003 when there is no such revision.';
