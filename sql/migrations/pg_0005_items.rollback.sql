-- Removes items and their history.
drop table kompanion.memory_item_revisions;
drop table kompanion.memory_items;
