-- Removes the triggers.
drop trigger vec_ann_900_after_delete;
drop trigger vec_ann_900_after_insert;
drop trigger vec_segments_900_after_delete;
drop trigger vec_segments_900_after_insert;
drop trigger namespaces_900_after_delete;
drop trigger memory_items_900_after_delete;
drop trigger memory_chunks_900_after_delete;
drop trigger embedding_models_100_before_update;
drop trigger embeddings_900_after_insert;
drop trigger memory_chunks_900_after_update;
drop trigger memory_chunks_900_after_insert;
drop trigger memory_items_920_tags;
drop trigger memory_items_910_tags;
drop trigger memory_items_900_after_update;
drop trigger memory_items_100_before_update;
