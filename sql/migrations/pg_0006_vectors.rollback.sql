-- Removes models, chunks, embeddings and the queue.
drop function kompanion._check_snapshot(uuid, uuid);
drop table kompanion.embedding_queue;
drop table kompanion.embeddings;
drop table kompanion.memory_chunks;
drop table kompanion.embedding_models;
