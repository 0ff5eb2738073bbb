-- Removes the writing of many items.
drop function kompanion.merge_staged(text);
drop function kompanion._insert_staged(integer);
drop function kompanion._check_staged(integer, text);
drop function kompanion.begin_staging();
