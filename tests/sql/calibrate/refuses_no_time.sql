-- A measurement takes some time.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.calibrate(seconds => 0);
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'seconds%', sqlerrm;
end
$$;
rollback;
