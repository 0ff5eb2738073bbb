-- depends: lite_0003_vectors
-- Triggers in pure SQL: what must hold even when somebody runs a plain UPDATE, from whatever tool. Mirrors pg_0007_invariants.

-- What a plain UPDATE says of revision and updated_at alone is no update, nor is one that changes nothing.
create trigger memory_items_100_before_update before update on memory_items
begin
    select raise(abort, 'KM007 namespace_no, item_id: the identity of an item never changes')
    where new.item_no is not old.item_no or new.namespace_no is not old.namespace_no or new.item_id is not old.item_id;

    select raise(abort, 'KM007 revision: grows by one with every change, by itself')
    where new.revision not in (old.revision, old.revision + 1) or new.content_revision not in (old.content_revision, new.revision);

    select raise(ignore)
    where new.key is old.key and new.content is old.content and new.metadata is old.metadata and new.tags is old.tags
      and new.thread_no is old.thread_no and new.user_no is old.user_no and new.created_at is old.created_at
      and new.expires_at is old.expires_at and new.deleted_at is old.deleted_at
      -- Unless the trigger below sets what follows from the revision it has just superseded.
      and (new.revision = old.revision and new.content_revision = old.content_revision and new.updated_at = old.updated_at
           or not exists (select 1 from memory_item_revisions h
                          where h.item_no = old.item_no and h.revision = new.revision - 1 and h.superseded_at = new.updated_at
                            and (h.content is new.content) = (new.content_revision < new.revision)));
end;

-- Every change is the next revision, at a later time; the superseded one is kept; what chunks and vectors carry stays in step.
-- One trigger, since SQLite does not say in which order several would fire.
create trigger memory_items_900_after_update
after update of key, content, metadata, tags, thread_no, user_no, created_at, expires_at, deleted_at on memory_items
begin
    insert into memory_item_revisions (item_no, revision, key, content, metadata, tags, thread_no, user_no, actor, updated_at,
                                       superseded_at, expires_at, deleted_at)
    values (old.item_no, old.revision, old.key, old.content, old.metadata, old.tags, old.thread_no, old.user_no, old.actor,
            old.updated_at,
            iif(new.updated_at > old.updated_at, new.updated_at,
                max(cast(unixepoch('subsec') * 1000 as integer) * 1000, old.updated_at + 1)),
            old.expires_at, old.deleted_at);

    -- A writer who sets all three himself saves this second update.
    update memory_items
    set revision = old.revision + 1,
        content_revision = iif(new.content is old.content, old.content_revision, old.revision + 1),
        updated_at = (select h.superseded_at from memory_item_revisions h where h.item_no = old.item_no and h.revision = old.revision)
    where item_no = old.item_no
      and (new.revision = old.revision or new.updated_at <= old.updated_at
           or new.content_revision <> iif(new.content is old.content, old.content_revision, old.revision + 1));

    update embeddings
    set thread_no = new.thread_no, expires_at = new.expires_at, deleted_at = new.deleted_at
    where item_no = old.item_no
      and (thread_no is not new.thread_no or expires_at is not new.expires_at or deleted_at is not new.deleted_at);

    -- upsert_item stores the chunks of the new content before it updates the item; all others are of the old one.
    delete from memory_chunks
    where new.content is not old.content and item_no = old.item_no and content_revision <> old.revision + 1;
    -- Content that nobody cut is one chunk; content without a visible character is none.
    insert into memory_chunks (namespace_no, item_no, ordinal, content, start_offset, end_offset, content_revision)
    select new.namespace_no, new.item_no, 0, new.content, 0, length(new.content), old.revision + 1
    where new.content is not old.content
      and trim(new.content, char(9, 10, 11, 12, 13, 28, 29, 30, 31, 32, 133, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197,
                                 8198, 8199, 8200, 8201, 8202, 8232, 8233, 8239, 8287, 12288)) <> ''
      and not exists (select 1 from memory_chunks c where c.item_no = new.item_no);
end;

create trigger memory_items_910_tags after update of tags on memory_items
when new.tags is not old.tags
begin
    delete from item_tags where item_no = old.item_no;
    insert or ignore into item_tags (tag, namespace_no, item_no)
    select t.value, new.namespace_no, new.item_no from json_each(new.tags) t;
end;

create trigger memory_items_920_tags after insert on memory_items
when new.tags <> jsonb('[]')
begin
    insert or ignore into item_tags (tag, namespace_no, item_no)
    select t.value, new.namespace_no, new.item_no from json_each(new.tags) t;
end;

-- A new chunk waits for a vector of every model in use; a writer that brings the vector takes it off again.
create trigger memory_chunks_900_after_insert after insert on memory_chunks
begin
    insert or ignore into embedding_queue (chunk_id, model_id)
    select new.chunk_id, m.model_id from embedding_models m where m.retired_at is null;
end;

-- A chunk with another text is another revision; the vectors of the former text go, and a worker that holds it brings what is stale.
create trigger memory_chunks_900_after_update after update of content on memory_chunks
when new.content is not old.content
begin
    update memory_chunks set revision = old.revision + 1 where chunk_id = old.chunk_id;
    delete from embeddings where chunk_id = old.chunk_id;
    delete from embedding_queue where chunk_id = old.chunk_id;
    insert or ignore into embedding_queue (chunk_id, model_id)
    select new.chunk_id, m.model_id from embedding_models m where m.retired_at is null;
end;

create trigger embeddings_900_after_insert after insert on embeddings
begin
    delete from embedding_queue where chunk_id = new.chunk_id and model_id = new.model_id;
end;

-- Vectors are read by the dimension of their model. In PostgreSQL the foreign key of each vector names it.
create trigger embedding_models_100_before_update before update of dim on embedding_models
when new.dim <> old.dim
begin
    select raise(abort, 'KM007 dim: the dimension of a model that has vectors never changes')
    where exists (select 1 from embeddings e where e.model_id = old.model_id)
       or exists (select 1 from vec_log l where l.model_id = old.model_id)
       or exists (select 1 from vec_segments s where s.model_id = old.model_id);
end;

-- What hangs on a row goes with it, also where foreign keys are not enforced: other tools leave them off. Where they are, the
-- cascade has been here before, and these find nothing.
create trigger memory_chunks_900_after_delete after delete on memory_chunks
begin
    delete from embeddings where chunk_id = old.chunk_id;
    delete from embedding_queue where chunk_id = old.chunk_id;
end;

create trigger memory_items_900_after_delete after delete on memory_items
begin
    delete from memory_chunks where item_no = old.item_no;
    delete from item_tags where item_no = old.item_no;
    delete from memory_item_revisions where item_no = old.item_no;
end;

create trigger namespaces_900_after_delete after delete on namespaces
begin
    delete from memory_items where namespace_no = old.namespace_no;
    delete from threads where namespace_no = old.namespace_no;
    delete from users where namespace_no = old.namespace_no;
end;

-- Whoever changes which files count, and from whatever tool: readers notice, and no file is forgotten that has to go.
create trigger vec_segments_900_after_insert after insert on vec_segments
begin
    update vec_state set generation = generation + 1;
end;

create trigger vec_segments_900_after_delete after delete on vec_segments
begin
    insert or replace into vec_retired (file) values (old.file);
    update vec_state set generation = generation + 1;
end;

create trigger vec_ann_900_after_insert after insert on vec_ann
begin
    update vec_state set generation = generation + 1;
end;

create trigger vec_ann_900_after_delete after delete on vec_ann
begin
    insert or replace into vec_retired (file) values (old.file);
    update vec_state set generation = generation + 1;
end;
