-- Removes items and their history.
drop function kompanion._was_superseded(kompanion.memory_item_revisions);
drop table kompanion.memory_item_revisions;
drop table kompanion.memory_items;
