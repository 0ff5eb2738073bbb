-- Removes the set form of upsert_item.
drop function kompanion.upsert_items(jsonb, text);
