-- Removes the two ways to the nearest.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;
drop function kompanion._nearest_by_index(kompanion._search_plan, vector, integer);
drop function kompanion._nearest_by_row(kompanion._search_plan, vector, integer);
drop function kompanion._index_settings(kompanion._search_plan, integer);
drop function kompanion._apply_settings(text[], text[]);
drop function kompanion._index_statement(kompanion._search_plan, text, text);
drop function kompanion._index_scan(kompanion._search_plan, text, text, text);
drop function kompanion._conditions(kompanion._search_plan);
drop function kompanion._nearest_exact(kompanion._search_plan, vector, integer, integer);
