-- Removes the counting of matches.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;
drop function kompanion._count_vectors(integer, uuid[], integer);
drop function kompanion._count_scope(kompanion._search_plan, vector, integer);
drop function kompanion._more_than(integer, uuid[], integer);
drop function kompanion._scan_items(kompanion._search_plan, vector, bigint, integer);
drop function kompanion._vector_version();
drop function kompanion._conditions();
drop type kompanion._search_plan;
drop type kompanion._search_hit;
