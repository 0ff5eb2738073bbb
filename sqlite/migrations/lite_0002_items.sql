-- depends: lite_0001_scopes
-- Items and their history: what is remembered, under which name, at which revision. Mirrors pg_0005_items.

create table memory_items (
    item_no          integer not null primary key autoincrement,
    namespace_no     integer not null references namespaces (namespace_no) on delete cascade,
    item_id          blob    not null default (randomblob(16)) check (length(item_id) = 16),
    key              text    not null check (length(key) between 1 and 512),
    content          text    not null,
    metadata         blob    not null default (jsonb('{}')) check (json_valid(metadata, 8) and json_type(metadata) = 'object'),
    tags             blob    not null default (jsonb('[]')) check (json_valid(tags, 8) and json_type(tags) = 'array'),
    thread_no        integer references threads (thread_no),
    user_no          integer references users (user_no),
    actor            text,
    revision         integer not null default 1,
    content_revision integer not null default 1,
    created_at       integer not null default (cast(unixepoch('subsec') * 1000 as integer) * 1000),
    updated_at       integer not null default (cast(unixepoch('subsec') * 1000 as integer) * 1000),
    expires_at       integer,
    deleted_at       integer,
    constraint memory_items_id_uq unique (namespace_no, item_id),
    constraint memory_items_namespace_key_uq unique (namespace_no, key),
    constraint memory_items_revision_ck check (revision >= 1 and content_revision between 1 and revision)
) strict;
create index memory_items_created_ix on memory_items (namespace_no, created_at, item_id);
create index memory_items_thread_ix on memory_items (thread_no, created_at) where thread_no is not null;
create index memory_items_user_ix on memory_items (user_no) where user_no is not null;
create index memory_items_deleted_ix on memory_items (deleted_at) where deleted_at is not null;
create index memory_items_expires_ix on memory_items (expires_at) where expires_at is not null;

-- The tags of an item, a row each, kept by triggers: filters by tag are ranges of the key.
create table item_tags (
    tag          text    not null,
    namespace_no integer not null,
    item_no      integer not null references memory_items (item_no) on delete cascade,
    primary key (tag, namespace_no, item_no)
) strict, without rowid;
create index item_tags_item_ix on item_tags (item_no);

create table memory_item_revisions (
    item_no       integer not null references memory_items (item_no) on delete cascade,
    revision      integer not null,
    key           text    not null,
    content       text    not null,
    metadata      blob    not null,
    tags          blob    not null,
    thread_no     integer,
    user_no       integer,
    actor         text,
    updated_at    integer not null,
    superseded_at integer not null,
    expires_at    integer,
    deleted_at    integer,
    constraint memory_item_revisions_pk primary key (item_no, revision),
    constraint memory_item_revisions_revision_ck check (revision >= 1),
    constraint memory_item_revisions_times_ck check (superseded_at > updated_at)
) strict;
create index memory_item_revisions_superseded_ix on memory_item_revisions (superseded_at);
