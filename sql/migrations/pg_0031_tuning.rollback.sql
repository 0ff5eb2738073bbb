-- Removes tune_index.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;
drop function kompanion.tune_index(text, double precision, double precision, text[], double precision, integer, vector[]);
drop function kompanion._make_tuning_copy(integer);
drop function kompanion._measure_candidate(kompanion._search_plan, vector[], bigint[], double precision[], integer[], integer);
drop function kompanion._build_candidate(kompanion._search_plan);
