-- Deleting a namespace that never was is an error.
begin;
do $$
begin
    perform kompanion.delete_namespace('nobody');
    assert false, 'it was not refused';
exception when sqlstate 'KM003' then
    assert sqlerrm like '%no namespace%', sqlerrm;
end
$$;
rollback;
