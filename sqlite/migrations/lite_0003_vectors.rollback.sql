-- Removes models, chunks and vectors. The files stay; they are of no use without their tables.
drop table vec_state;
drop table vec_retired;
drop table vec_ann;
drop table vec_segments;
drop table embedding_queue;
drop table embeddings;
drop table vec_log;
drop table memory_chunks;
drop table embedding_models;
