-- Removes the views.
drop view embedding_vectors;
drop view live_embeddings;
drop view live_chunks;
drop view live_items;
drop view live_namespaces;
