-- Removes the curves of calibrations.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;
drop function kompanion._reach_on_curve(jsonb, integer, integer, double precision);
drop function kompanion._calibration_curve(jsonb, integer, integer);
