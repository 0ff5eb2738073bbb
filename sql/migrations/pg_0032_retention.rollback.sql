-- Removes retention and figures.
drop function kompanion.stats(text);
drop function kompanion.purge(integer);
drop function kompanion.trim_history(interval, integer, integer);
drop function kompanion._check_batch(integer);
