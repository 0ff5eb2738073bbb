-- What never was cannot be deleted.
begin;
do $$
begin
    perform kompanion.delete_item('acme', 'k');
    assert false, 'it was not refused';
exception when sqlstate 'KM003' then
    assert sqlerrm like 'there is no item%', sqlerrm;
end
$$;
rollback;
