-- Removes the curves of calibrations.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;
drop function kompanion._knobs_from(jsonb);
drop function kompanion._large_namespaces(integer);
drop function kompanion._never_rising(double precision[], double precision[]);
drop function kompanion._reach(integer[], double precision[], double precision);
drop function kompanion._calibration_curve(jsonb, integer, integer);
