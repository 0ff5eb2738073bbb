-- A namespace that never was cannot come back.
begin;
do $$
begin
    perform kompanion.restore_namespace('nobody');
    assert false, 'it was not refused';
exception when sqlstate 'KM003' then
    assert sqlerrm like '%no namespace%', sqlerrm;
end
$$;
rollback;
