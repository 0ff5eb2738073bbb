-- Removes the look around.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;
drop function kompanion._choose_knob(jsonb, real[], integer, double precision, double precision);
drop function kompanion._look_around(kompanion._search_plan, vector, text);
drop function kompanion._common_tags(integer);
drop function kompanion._known_share(kompanion._search_plan);
