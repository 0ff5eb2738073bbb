-- At least one result is asked for.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.search('*', '[1,0,0]', 0);
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'k:%', sqlerrm;
end
$$;
rollback;
