-- Removes the views, and the rules for pages.
drop function kompanion._read_cursor(text);
drop function kompanion._write_cursor(timestamptz, uuid);
drop function kompanion._check_page(integer);
drop function kompanion._secure_views();
drop view kompanion.live_embeddings;
drop view kompanion.live_chunks;
drop view kompanion.live_items;
drop view kompanion.live_namespaces;
