-- A query that no search would take measures nothing.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.measure_recall(queries => array['[0,0,0]']::vector[]);
    assert false, 'it was not refused';
exception when sqlstate 'KM004' then
    assert sqlerrm like 'queries[1]:%', sqlerrm;
end
$$;
rollback;
