-- Removes the triggers.
drop trigger embeddings_900_after_insert;
drop trigger memory_chunks_900_after_update;
drop trigger memory_chunks_900_after_insert;
drop trigger memory_items_920_tags;
drop trigger memory_items_910_tags;
drop trigger memory_items_900_after_update;
drop trigger memory_items_110_revision;
drop trigger memory_items_100_identity;
