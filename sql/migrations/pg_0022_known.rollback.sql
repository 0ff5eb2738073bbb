-- Removes what is known before a search.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;
drop function kompanion._knob_for_chunks(kompanion._search_plan, vector, double precision, bigint);
drop function kompanion._fits_half(vector, integer);
drop function kompanion._choose_knob(jsonb, real[], integer, double precision, double precision);
drop function kompanion._difficulty(jsonb, double precision, double precision, double precision);
drop function kompanion._common_tags(integer);
drop function kompanion._known_share(kompanion._search_plan);
drop function kompanion._has_rival_index(integer);
