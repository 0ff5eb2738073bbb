-- Removes the look around.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;
drop function kompanion._look_reaches(kompanion._search_plan, vector, bigint, integer[]);
drop function kompanion._is_strewn(kompanion._search_plan, vector);
drop function kompanion._look_around(kompanion._search_plan, vector, text);
drop function kompanion._apply_settings(text[], text[]);
drop function kompanion._index_settings(kompanion._search_plan, integer);
