-- Removes the search by the vector index.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;
drop function kompanion._nearest_by_index(kompanion._search_plan, vector, integer);
drop function kompanion._write_model_scans();
drop function kompanion._model_look(vector, integer, uuid[], uuid[], text[], text[], text[], jsonpath, integer, integer, boolean);
drop function kompanion._model_nearest(vector, integer, uuid[], uuid[], text[], text[], text[], jsonpath, integer, boolean);
drop type kompanion._sight;
drop function kompanion._look_statement(kompanion._search_plan, text);
drop function kompanion._index_statement(kompanion._search_plan, text, text);
drop function kompanion._index_scan(kompanion._search_plan, text, text, text);
