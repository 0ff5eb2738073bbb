-- A whole scope is listed, not searched.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.search('*', '[1,0,0]', 100000);
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'k:%', sqlerrm;
end
$$;
rollback;
