-- A model must be registered.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.search('*', '[1,0,0]', model => 'none');
    assert false, 'it was not refused';
exception when sqlstate 'KM005' then
    assert sqlerrm like 'model:%', sqlerrm;
end
$$;
rollback;
