-- Removes the staging of many items.
drop function kompanion._check_staged(integer, integer, text);
drop function kompanion._check_staged_chunks();
drop function kompanion._check_staged_items();
drop function kompanion.begin_staging();
drop function kompanion._has_staging();
