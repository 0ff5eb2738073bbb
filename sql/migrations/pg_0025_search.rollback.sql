-- Removes the search.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;
drop function kompanion.explain_search(text, vector, integer, text, text, text[], text[], text[], jsonb, double precision, boolean);
drop function kompanion.search(text, vector, integer, text, text, text[], text[], text[], jsonb, double precision, boolean);
drop function kompanion._run_search(kompanion._search_plan, vector, boolean);
