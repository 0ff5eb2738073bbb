-- A filter has at most 5,000 parts.
begin;
do $$
begin
    perform kompanion.compile_filter((select jsonb_object_agg('f' || n, n) from generate_series(1, 5001) n));
    assert false, 'it was not refused';
exception when sqlstate 'KM006' then
    assert sqlerrm like '%parts%', sqlerrm;
end
$$;
rollback;
