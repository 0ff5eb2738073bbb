-- Removes the writing of many items.
drop function kompanion.upsert_items(jsonb, text);
drop function kompanion.merge_staged(text, timestamptz);
drop function kompanion._insert_staged(integer, timestamptz);
