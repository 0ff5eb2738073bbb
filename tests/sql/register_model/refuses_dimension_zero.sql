-- A vector has at least one element.
begin;
do $$
begin
    perform kompanion.register_model('small', 0);
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'dim:%', sqlerrm;
end
$$;
rollback;
