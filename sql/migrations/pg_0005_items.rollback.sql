-- Removes items and their history.
drop function kompanion._was_superseded(uuid, uuid, integer, timestamptz);
drop table kompanion.memory_item_revisions;
drop table kompanion.memory_items;
