-- Removes the reading of items.
drop function kompanion.item_as_of(text, text, timestamptz);
drop function kompanion.item_history(text, text);
drop function kompanion.list_items(text, jsonb, text[], text[], text[], text, integer, text);
drop function kompanion.get_chunks(text, text, text);
drop function kompanion.get_item(text, text);
