-- depends: lite_0002_items
-- Models, chunks and which vectors live. Mirrors pg_0006_vectors; vectors themselves are in vec_log, then in files.

create table embedding_models (
    model_id    integer not null primary key autoincrement,
    name        text    not null check (length(name) between 1 and 512),
    dim         integer not null check (dim between 1 and 16000),
    metric      text    not null default 'cosine' check (metric in ('cosine', 'l2', 'inner_product')),
    is_default  integer not null default 0 check (is_default in (0, 1)),
    calibration blob check (calibration is null or json_valid(calibration, 8)),
    index_choice blob check (index_choice is null or json_valid(index_choice, 8)),
    created_at  integer not null default (cast(unixepoch('subsec') * 1000 as integer) * 1000),
    retired_at  integer,
    constraint embedding_models_name_uq unique (name),
    constraint embedding_models_default_ck check (not (is_default = 1 and retired_at is not null))
) strict;
create unique index embedding_models_default_uq on embedding_models (is_default) where is_default = 1;

create table memory_chunks (
    chunk_id         integer not null primary key autoincrement,
    namespace_no     integer not null references namespaces (namespace_no) on delete cascade,
    item_no          integer not null references memory_items (item_no) on delete cascade,
    ordinal          integer not null check (ordinal >= 0),
    content          text    not null check (content <> ''),
    start_offset     integer not null check (start_offset >= 0),
    end_offset       integer not null,
    revision         integer not null default 1,
    content_revision integer not null,
    created_at       integer not null default (cast(unixepoch('subsec') * 1000 as integer) * 1000),
    constraint memory_chunks_item_ordinal_uq unique (item_no, ordinal),
    constraint memory_chunks_offsets_ck check (end_offset >= start_offset)
) strict;
create index memory_chunks_namespace_ix on memory_chunks (namespace_no);

-- Every vector ever written gets the next seq in the transaction that writes it, and keeps it: the log is the only place a
-- vector enters, in the order of commits. Folding moves vectors into files and takes them off here.
create table vec_log (
    seq      integer not null primary key autoincrement,
    model_id integer not null references embedding_models (model_id) on delete cascade,
    vector   blob    not null check (length(vector) % 4 = 0)  -- float32, little-endian
) strict;

-- Which vector a chunk has, by the seq it came with: the one truth about what lives. What a search filters by is carried along.
create table embeddings (
    vec_id       integer not null primary key,
    namespace_no integer not null references namespaces (namespace_no) on delete cascade,
    chunk_id     integer not null references memory_chunks (chunk_id) on delete cascade,
    model_id     integer not null references embedding_models (model_id),
    item_no      integer not null references memory_items (item_no) on delete cascade,
    thread_no    integer,
    expires_at   integer,
    deleted_at   integer,
    created_at   integer not null default (cast(unixepoch('subsec') * 1000 as integer) * 1000),
    constraint embeddings_chunk_model_uq unique (chunk_id, model_id)
) strict;
-- Scopes are read from these two alone, in the order of vec_id; that needs deleted_at in them, though it is always null.
create index embeddings_scope_ix on embeddings (model_id, namespace_no, vec_id, expires_at, deleted_at) where deleted_at is null;
create index embeddings_item_ix on embeddings (item_no, model_id, vec_id, expires_at, deleted_at);
create index embeddings_namespace_ix on embeddings (namespace_no);

create table embedding_queue (
    chunk_id     integer not null references memory_chunks (chunk_id) on delete cascade,
    model_id     integer not null references embedding_models (model_id) on delete cascade,
    leased_until integer,
    worker       text,
    created_at   integer not null default (cast(unixepoch('subsec') * 1000 as integer) * 1000),
    primary key (chunk_id, model_id)
) strict, without rowid;
create index embedding_queue_claim_ix on embedding_queue (model_id, created_at, chunk_id);

-- The files beside the database that hold folded vectors. A file counts only while it stands here.
create table vec_segments (
    segment_no integer not null primary key autoincrement,
    model_id   integer not null references embedding_models (model_id) on delete cascade,
    file       text    not null unique,
    rows       integer not null check (rows > 0),
    bytes      integer not null,
    crc        integer not null,
    low        integer not null,  -- the least vec_id in it
    high       integer not null,  -- the greatest
    created_at integer not null default (cast(unixepoch('subsec') * 1000 as integer) * 1000)
) strict;

-- Vector indexes of large segments, in files of their own. They are derived: lost or damaged, they are made again.
create table vec_ann (
    segment_no integer not null primary key references vec_segments (segment_no) on delete cascade,
    file       text    not null unique,
    params     blob    not null check (json_valid(params, 8)),
    bytes      integer not null,
    crc        integer not null,
    created_at integer not null default (cast(unixepoch('subsec') * 1000 as integer) * 1000)
) strict;

-- Files that no longer count. They stay a while, for readers whose transaction began when they did.
create table vec_retired (
    file       text    not null primary key,
    retired_at integer not null default (cast(unixepoch('subsec') * 1000 as integer) * 1000)
) strict, without rowid;

-- One row: generation counts the changes of vec_segments and vec_ann, so that a reader sees at a glance whether its files still are the ones.
create table vec_state (
    one        integer not null primary key check (one = 1),
    generation integer not null
) strict;
insert into vec_state (one, generation) values (1, 0);
