-- Removes the merging of what is staged.
drop function kompanion.merge_staged(text, timestamptz);
drop function kompanion._unchanged_staged(integer, integer[]);
drop function kompanion._insert_staged(integer, timestamptz);
