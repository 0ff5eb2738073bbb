-- Removes the measuring of vector indexes.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;
drop function kompanion._time_limit(double precision);
drop function kompanion._calibration_plan(text);
drop function kompanion._row_costs(kompanion._search_plan, vector, uuid[]);
drop function kompanion._try_knob(kompanion._search_plan, vector, bigint, integer, double precision, integer, text);
drop function kompanion._true_nearest(kompanion._search_plan, vector[], bigint[], integer[], text);
drop function kompanion._sample_queries(integer, integer, uuid[], boolean, bigint);
drop function kompanion._knob_ladder(text, integer);
