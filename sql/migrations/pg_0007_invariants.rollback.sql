-- Removes the triggers and what they call.
drop trigger memory_chunks_900_after_update on kompanion.memory_chunks;
drop trigger memory_item_revisions_050_by_hand on kompanion.memory_item_revisions;
drop trigger memory_chunks_050_identity on kompanion.memory_chunks;
drop trigger memory_chunks_100_before_update on kompanion.memory_chunks;
drop trigger memory_items_900_after_update on kompanion.memory_items;
drop trigger memory_items_100_before_update on kompanion.memory_items;
drop function kompanion._tg__refuse();
drop function kompanion._tg_memory_chunks__update();
drop function kompanion._tg_memory_items__after_update();
drop function kompanion._tg_memory_items__before_update();
drop function kompanion._chunk_whole(uuid, uuid, integer, text);
drop function kompanion._enqueue_item(uuid, uuid);
drop function kompanion._replace_chunks(uuid, uuid, integer, text[], integer[], integer[]);
