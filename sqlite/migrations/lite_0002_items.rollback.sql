-- Removes items and their history.
drop table memory_item_revisions;
drop table item_tags;
drop table memory_items;
