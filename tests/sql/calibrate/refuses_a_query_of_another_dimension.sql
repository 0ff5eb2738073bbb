-- Queries of the caller are vectors of the model.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.calibrate(queries => array['[1,0,0]', '[1,0]']::vector[]);
    assert false, 'it was not refused';
exception when sqlstate 'KM004' then
    assert sqlerrm like 'queries[2]:%', sqlerrm;
end
$$;
rollback;
