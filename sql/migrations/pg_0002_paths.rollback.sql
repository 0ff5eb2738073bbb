-- Removes the rules for paths and values.
drop function kompanion._is_visible(text);
drop function kompanion.is_live(timestamptz, timestamptz);
drop function kompanion.namespace_id(text);
drop function kompanion.namespace_segments(text);
drop function kompanion._segment_letters();
