-- depends: lite_0003_vectors
-- Triggers in pure SQL: what must hold even when somebody runs a plain UPDATE, from whatever tool. Mirrors pg_0007_invariants.

create trigger memory_items_100_identity before update of item_no, namespace_no, item_id on memory_items
when new.item_no is not old.item_no or new.namespace_no is not old.namespace_no or new.item_id is not old.item_id
begin
    select raise(abort, 'KM007 namespace_no, item_id: the identity of an item never changes');
end;

create trigger memory_items_110_revision before update of revision, content_revision on memory_items
when new.revision not in (old.revision, old.revision + 1)
begin
    select raise(abort, 'KM007 revision: grows by one with every change, by itself');
end;

-- Every change is the next revision, at a later time; the superseded one is kept; what chunks and vectors carry stays in step.
-- One trigger, since SQLite does not say in which order several would fire.
-- A writer may give updated_at, and revision with it: else both are set here, in a second update that fires nothing.
create trigger memory_items_900_after_update
after update of key, content, metadata, tags, thread_no, user_no, created_at, expires_at, deleted_at on memory_items
when new.key is not old.key or new.content is not old.content or new.metadata is not old.metadata or new.tags is not old.tags
  or new.thread_no is not old.thread_no or new.user_no is not old.user_no or new.created_at is not old.created_at
  or new.expires_at is not old.expires_at or new.deleted_at is not old.deleted_at
begin
    update memory_items
    set revision = old.revision + 1,
        content_revision = iif(new.content is old.content, old.content_revision, old.revision + 1),
        updated_at = iif(new.updated_at > old.updated_at, new.updated_at,
                         max(cast(unixepoch('subsec') * 1000 as integer) * 1000, old.updated_at + 1))
    where item_no = old.item_no;

    insert into memory_item_revisions (item_no, revision, key, content, metadata, tags, thread_no, user_no, actor, updated_at,
                                       superseded_at, expires_at, deleted_at)
    select old.item_no, old.revision, old.key, old.content, old.metadata, old.tags, old.thread_no, old.user_no, old.actor,
           old.updated_at, i.updated_at, old.expires_at, old.deleted_at
    from memory_items i where i.item_no = old.item_no;

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
      and trim(new.content, char(9, 10, 11, 12, 13, 32, 133, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197, 8198, 8199, 8200, 8201,
                                 8202, 8232, 8233, 8239, 8287, 12288)) <> ''
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
