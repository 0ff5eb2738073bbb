-- What never was cannot come back.
begin;
do $$
begin
    perform kompanion.restore_item('acme', 'k');
    assert false, 'it was not refused';
exception when sqlstate 'KM003' then
    assert sqlerrm like 'there is no item%', sqlerrm;
end
$$;
rollback;
