-- depends: lite_0004_invariants
-- The documented way to read: views that hide what is expired, deleted, or in a deleted namespace. Mirrors pg_0008_live_views.
-- Times are microseconds: datetime(created_at / 1e6, 'unixepoch') shows one.

create view live_namespaces as
select n.path as namespace, n.namespace_no, n.namespace_id, n.created_at
from namespaces n
where n.deleted_at is null;

create view live_items as
select n.path as namespace, i.item_no, n.namespace_no, n.namespace_id, i.item_id, i.key, i.content, json(i.metadata) as metadata, json(i.tags) as tags,
       t.key as thread, u.key as user_key, i.actor, i.revision, i.content_revision,
       i.created_at, i.updated_at, i.expires_at, i.thread_no, i.user_no
from memory_items i
join namespaces n on n.namespace_no = i.namespace_no and n.deleted_at is null
left join threads t on t.thread_no = i.thread_no
left join users u on u.user_no = i.user_no
where i.deleted_at is null and (i.expires_at is null or i.expires_at > unixepoch('subsec') * 1000000);

create view live_chunks as
select n.path as namespace, n.namespace_no, c.chunk_id, c.item_no, i.item_id, i.key, c.ordinal, c.content, c.start_offset, c.end_offset,
       c.revision, c.created_at
from memory_chunks c
join memory_items i on i.item_no = c.item_no
join namespaces n on n.namespace_no = c.namespace_no and n.deleted_at is null
where i.deleted_at is null and (i.expires_at is null or i.expires_at > unixepoch('subsec') * 1000000);

create view live_embeddings as
select n.path as namespace, n.namespace_no, e.vec_id, e.chunk_id, e.item_no, m.name as model, e.model_id, m.dim, e.thread_no,
       e.expires_at, e.created_at
from embeddings e
join namespaces n on n.namespace_no = e.namespace_no and n.deleted_at is null
join embedding_models m on m.model_id = e.model_id and m.retired_at is null
where e.deleted_at is null and (e.expires_at is null or e.expires_at > unixepoch('subsec') * 1000000);

-- Vectors as PostgreSQL has them, a column of a table: written with plain SQL from any tool. The column shows a vector until it
-- is folded into a file, then NULL; vec_get(vec_id), which connections of kompanion_db bring along, reads it wherever it is.
create view embedding_vectors as
select e.chunk_id, m.name as model, e.vec_id, e.namespace_no, e.item_no, m.dim, (select l.vector from vec_log l where l.seq = e.vec_id) as vector
from embeddings e
join embedding_models m on m.model_id = e.model_id;

create trigger embedding_vectors_insert instead of insert on embedding_vectors
begin
    select raise(abort, 'KM005 model: no such embedding model in use')
    where not exists (select 1 from embedding_models m where m.name = new.model and m.retired_at is null);
    select raise(abort, 'KM003 chunk_id: there is no such chunk')
    where not exists (select 1 from memory_chunks c where c.chunk_id = new.chunk_id);
    select raise(abort, 'KM004 vector: not float32 of the dimension of the model')
    where typeof(new.vector) <> 'blob'
       or length(new.vector) <> 4 * (select m.dim from embedding_models m where m.name = new.model);
    -- With one of these no index can be made of all vectors. The third and fourth byte of a number have its sign and exponent:
    -- 58 80 begins 2^50, 7F 80 what is infinite or no number.
    select raise(abort, 'KM004 vector: a number in it is infinite, no number, or beyond 1e15')
    where exists (
        with recursive at (place) as (select 3 union all select place + 4 from at where place + 4 < length(new.vector)),
        pair (bytes) as (select hex(substr(new.vector, place, 2)) from at)
        select 1 from pair
        where substr(bytes, 3) between '59' and '7F' or substr(bytes, 3) between 'D9' and 'FF'
           or (substr(bytes, 3) in ('58', 'D8') and bytes >= '80'));
    delete from embeddings
    where chunk_id = new.chunk_id and model_id = (select m.model_id from embedding_models m where m.name = new.model);
    insert into vec_log (model_id, vector)
    select m.model_id, new.vector from embedding_models m where m.name = new.model;
    insert into embeddings (vec_id, namespace_no, chunk_id, model_id, item_no, thread_no, expires_at, deleted_at)
    select last_insert_rowid(), c.namespace_no, c.chunk_id, m.model_id, c.item_no, i.thread_no, i.expires_at, i.deleted_at
    from memory_chunks c
    join memory_items i on i.item_no = c.item_no
    join embedding_models m on m.name = new.model
    where c.chunk_id = new.chunk_id;
end;

create trigger embedding_vectors_update instead of update of vector on embedding_vectors
begin
    insert into embedding_vectors (chunk_id, model, vector) values (old.chunk_id, old.model, new.vector);
end;

create trigger embedding_vectors_delete instead of delete on embedding_vectors
begin
    delete from embeddings where vec_id = old.vec_id;
end;
