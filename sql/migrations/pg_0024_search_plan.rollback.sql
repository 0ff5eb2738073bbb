-- Removes the planning of searches.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;
drop function kompanion._plan_search(text, vector, text, integer, text, text[], text[], text[], jsonb, double precision);
drop function kompanion._path_by_calibration(kompanion._search_plan, vector);
drop function kompanion._path_by_default(kompanion._search_plan, vector);
