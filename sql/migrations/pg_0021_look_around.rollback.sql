-- Removes the look around.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;
drop function kompanion._choose_knob(integer, jsonb, integer, double precision, double precision);
drop function kompanion._scan_tags(kompanion._search_plan, vector, bigint, integer, text);
drop function kompanion._rare_tags(jsonb, text[], text[]);
drop function kompanion._look_around(kompanion._search_plan, vector, text);
