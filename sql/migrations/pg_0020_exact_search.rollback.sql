-- Removes the exact search.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;
drop function kompanion._rare_tags(jsonb, text[], text[]);
drop function kompanion._scan_tags(kompanion._search_plan, vector, bigint, integer, text);
drop function kompanion._nearest_by_row(kompanion._search_plan, vector, integer, bigint);
drop function kompanion._nearest_of_one(kompanion._search_plan, vector, integer, integer);
drop function kompanion._nearest_exact(kompanion._search_plan, vector, integer, integer);
