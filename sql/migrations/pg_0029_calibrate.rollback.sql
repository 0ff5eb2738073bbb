-- Removes calibrate.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;
drop function kompanion.calibrate(text, double precision, integer, vector[]);
drop function kompanion._try_ladder(kompanion._search_plan, vector, bigint, integer, double precision, integer, integer[]);
drop function kompanion._begin_calibration(kompanion._search_plan, vector[], text, integer);
