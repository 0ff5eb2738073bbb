-- depends: pg_0004_scopes
-- Items and their history: what is remembered, under which name, at which revision.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create table kompanion.memory_items (
    namespace_id     uuid        not null,
    item_id          uuid        not null default gen_random_uuid(),
    key              text        collate "C" not null,
    content          text        not null,
    metadata         jsonb       not null default '{}',
    tags             text[]      collate "C" not null default '{}',
    thread_id        uuid,
    user_id          uuid,
    actor            text,
    revision         integer     not null default 1,
    content_revision integer     not null default 1,
    created_at       timestamptz not null default clock_timestamp(),
    updated_at       timestamptz not null default clock_timestamp(),
    expires_at       timestamptz,
    deleted_at       timestamptz,
    constraint memory_items_pk primary key (namespace_id, item_id),
    constraint memory_items_namespace_key_uq unique (namespace_id, key),
    constraint memory_items_namespace_fk foreign key (namespace_id) references kompanion.namespaces (namespace_id) on delete cascade,
    constraint memory_items_thread_fk foreign key (namespace_id, thread_id) references kompanion.threads (namespace_id, thread_id),
    constraint memory_items_user_fk foreign key (namespace_id, user_id) references kompanion.users (namespace_id, user_id),
    constraint memory_items_key_ck check (length(key) between 1 and 512),
    constraint memory_items_metadata_object_ck check (jsonb_typeof(metadata) = 'object'),
    constraint memory_items_times_ck check (isfinite(created_at) and isfinite(updated_at) and (expires_at is null or isfinite(expires_at))
                                             and (deleted_at is null or isfinite(deleted_at))),
    constraint memory_items_revision_ck check (revision >= 1 and content_revision between 1 and revision)
);
create index memory_items_thread_created_ix on kompanion.memory_items (namespace_id, thread_id, created_at)
    where thread_id is not null;
create index memory_items_user_ix on kompanion.memory_items (namespace_id, user_id) where user_id is not null;
create index memory_items_created_ix on kompanion.memory_items (namespace_id, created_at, item_id);
create index memory_items_metadata_ix on kompanion.memory_items using gin (metadata jsonb_path_ops);
create index memory_items_tags_ix on kompanion.memory_items using gin (tags);
create index memory_items_deleted_ix on kompanion.memory_items (deleted_at) where deleted_at is not null;
create index memory_items_expires_ix on kompanion.memory_items (expires_at) where expires_at is not null;

comment on table  kompanion.memory_items is
    'The memories: one row an item at its current revision. Read live_items instead, it hides what is deleted or expired.';
comment on column kompanion.memory_items.namespace_id is 'The namespace the item is in; never changes.';
comment on column kompanion.memory_items.item_id is 'Identity inside the namespace; never changes.';
comment on column kompanion.memory_items.key is 'External name, unique in the namespace.';
comment on column kompanion.memory_items.content is 'The memory itself, as text.';
comment on column kompanion.memory_items.metadata is 'What filters ask about, a JSON object of at most 1 MiB.';
comment on column kompanion.memory_items.tags is 'A sorted set of tags.';
comment on column kompanion.memory_items.thread_id is 'The thread it was said in, if any.';
comment on column kompanion.memory_items.user_id is 'The user it is about or from, if any.';
comment on column kompanion.memory_items.actor is 'Who wrote this revision, as the writer stated it; another actor alone makes no revision.';
comment on column kompanion.memory_items.revision is '1, 2, 3 ... without gaps; every change of the row is the next one (a trigger sees to it).';
comment on column kompanion.memory_items.content_revision is 'The revision at which content last changed; chunks carry it to prove they were cut from this content.';
comment on column kompanion.memory_items.created_at is 'When the memory was made; the order of list_items.';
comment on column kompanion.memory_items.updated_at is 'When this revision was written; strictly grows with the revision.';
comment on column kompanion.memory_items.expires_at is 'From then on the item is hidden, whether or not a purge ever ran. NULL never.';
comment on column kompanion.memory_items.deleted_at is 'When it was soft-deleted. NULL while it lives.';
comment on constraint memory_items_pk on kompanion.memory_items is 'Identity of an item; starts with the namespace, as every key does.';
comment on constraint memory_items_namespace_key_uq on kompanion.memory_items is 'One item a name in a namespace; upsert_item conflicts on it.';
comment on constraint memory_items_namespace_fk on kompanion.memory_items is 'Purging a namespace takes its items along.';
comment on constraint memory_items_thread_fk on kompanion.memory_items is 'The thread is one of the same namespace.';
comment on constraint memory_items_user_fk on kompanion.memory_items is 'The user is one of the same namespace.';
comment on constraint memory_items_key_ck on kompanion.memory_items is 'Keeps the key small enough for a b-tree entry.';
comment on constraint memory_items_metadata_object_ck on kompanion.memory_items is 'Metadata is a JSON object, so that filters can name its fields.';
comment on constraint memory_items_times_ck on kompanion.memory_items is 'Clients cannot read an infinite time, and no page can be in its order.';
comment on constraint memory_items_revision_ck on kompanion.memory_items is 'Revisions count from 1.';
comment on index kompanion.memory_items_thread_created_ix is 'A thread in order of time.';
comment on index kompanion.memory_items_user_ix is 'Deleting a user, as when a namespace is purged, looks for what names it.';
comment on index kompanion.memory_items_created_ix is 'list_items: pages of a namespace, newest first.';
comment on index kompanion.memory_items_metadata_ix is 'Equality in metadata filters.';
comment on index kompanion.memory_items_tags_ix is 'Tag filters.';
comment on index kompanion.memory_items_deleted_ix is 'purge: what is past its retention.';
comment on index kompanion.memory_items_expires_ix is 'purge: what expired long ago.';

create table kompanion.memory_item_revisions (
    namespace_id  uuid        not null,
    item_id       uuid        not null,
    revision      integer     not null,
    key           text        not null,
    content       text        not null,
    metadata      jsonb       not null,
    tags          text[]      not null,
    thread_id     uuid,
    user_id       uuid,
    actor         text,
    updated_at    timestamptz not null,
    superseded_at timestamptz not null,
    expires_at    timestamptz,
    deleted_at    timestamptz,
    constraint memory_item_revisions_pk primary key (namespace_id, item_id, revision),
    constraint memory_item_revisions_item_fk foreign key (namespace_id, item_id)
        references kompanion.memory_items (namespace_id, item_id) on delete cascade,
    constraint memory_item_revisions_key_ck check (length(key) between 1 and 512),
    constraint memory_item_revisions_metadata_object_ck check (jsonb_typeof(metadata) = 'object'),
    constraint memory_item_revisions_revision_ck check (revision >= 1),
    constraint memory_item_revisions_times_ck check (superseded_at > updated_at)
);
create index memory_item_revisions_superseded_ix on kompanion.memory_item_revisions (superseded_at);
comment on table  kompanion.memory_item_revisions is
    'Every superseded revision of an item as it was, written by a trigger; the current one is in memory_items.';
comment on column kompanion.memory_item_revisions.namespace_id is 'The namespace of the item.';
comment on column kompanion.memory_item_revisions.item_id is 'The item.';
comment on column kompanion.memory_item_revisions.revision is 'Which revision this was.';
comment on column kompanion.memory_item_revisions.key is 'The key at that revision.';
comment on column kompanion.memory_item_revisions.content is 'The content at that revision.';
comment on column kompanion.memory_item_revisions.metadata is 'The metadata at that revision.';
comment on column kompanion.memory_item_revisions.tags is 'The tags at that revision.';
comment on column kompanion.memory_item_revisions.thread_id is 'The thread at that revision.';
comment on column kompanion.memory_item_revisions.user_id is 'The user at that revision.';
comment on column kompanion.memory_item_revisions.actor is 'Who wrote that revision.';
comment on column kompanion.memory_item_revisions.updated_at is 'Since when it was current.';
comment on column kompanion.memory_item_revisions.superseded_at is 'When the next revision took its place.';
comment on column kompanion.memory_item_revisions.expires_at is 'The expiry at that revision.';
comment on column kompanion.memory_item_revisions.deleted_at is 'Set when that revision was a deletion.';
comment on constraint memory_item_revisions_pk on kompanion.memory_item_revisions is 'One row a revision, so no revision is ever reused.';
comment on constraint memory_item_revisions_item_fk on kompanion.memory_item_revisions is 'Purging an item takes its history along.';
comment on constraint memory_item_revisions_key_ck on kompanion.memory_item_revisions is 'As that of an item.';
comment on constraint memory_item_revisions_metadata_object_ck on kompanion.memory_item_revisions is 'As that of an item: a revision can be gone back to.';
comment on constraint memory_item_revisions_revision_ck on kompanion.memory_item_revisions is 'Revisions count from 1.';
comment on constraint memory_item_revisions_times_ck on kompanion.memory_item_revisions is 'Time goes forward from revision to revision.';
comment on index kompanion.memory_item_revisions_superseded_ix is 'trim_history: what is past its retention.';

create function kompanion._was_superseded(
    namespace_id  uuid,
    item_id       uuid,
    revision      integer,
    superseded_at timestamptz
)
    returns boolean
    language plpgsql
    stable
    set search_path from current
as $_was_superseded$
-- Whether the trigger of memory_items may write this: its item stands at the next revision, since that moment. That some trigger
-- writes proves nothing, as a writer may have tables and triggers of its own.
begin
    return pg_trigger_depth() > 0 and exists (
        select 1 from memory_items i
        where i.namespace_id = _was_superseded.namespace_id and i.item_id = _was_superseded.item_id
          and i.revision = _was_superseded.revision + 1 and i.updated_at = _was_superseded.superseded_at);
end;
$_was_superseded$;
revoke all on function kompanion._was_superseded(uuid, uuid, integer, timestamptz) from public;
comment on function kompanion._was_superseded(uuid, uuid, integer, timestamptz) is
    'Internal. Whether an item has just gone on from this revision, which is how history is written.';
