-- A thread that never was cannot be closed.
begin;
do $$
begin
    perform kompanion.close_thread('acme', 't');
    assert false, 'it was not refused';
exception when sqlstate 'KM003' then
    assert sqlerrm like '%no thread%', sqlerrm;
end
$$;
rollback;
