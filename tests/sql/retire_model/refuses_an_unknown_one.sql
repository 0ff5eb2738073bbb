-- A model that is not registered cannot be retired.
begin;
do $$
begin
    perform kompanion.retire_model('none');
    assert false, 'it was not refused';
exception when sqlstate 'KM005' then
    assert sqlerrm like 'model:%', sqlerrm;
end
$$;
rollback;
