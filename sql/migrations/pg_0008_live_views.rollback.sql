-- Removes the views.
drop view kompanion.live_embeddings;
drop view kompanion.live_chunks;
drop view kompanion.live_items;
drop view kompanion.live_namespaces;
