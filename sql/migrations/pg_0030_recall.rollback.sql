-- Removes measure_recall and index_advice.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;
drop function kompanion.index_advice(text);
drop function kompanion._hnsw_seconds(kompanion._search_plan, bigint);
drop function kompanion._build_memory_kb(text, bigint, integer, integer, boolean);
drop function kompanion.measure_recall(text, text, integer, integer, double precision, vector[]);
