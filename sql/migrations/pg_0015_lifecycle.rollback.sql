-- Removes delete, restore, touch and revert.
drop function kompanion.revert_item(text, text, integer, integer, text);
drop function kompanion.touch_item(text, text, timestamptz, interval, text);
drop function kompanion.restore_item(text, text, timestamptz, interval, text);
drop function kompanion.delete_item(text, text, integer, text);
