-- A closed thread takes no new memories.
begin;
do $$
begin
    perform kompanion.ensure_thread('acme', 't');
    perform kompanion.close_thread('acme', 't');
    perform kompanion.upsert_item('acme', 'k', 'c', thread => 't');
    assert false, 'it was not refused';
exception when sqlstate 'KM010' then
    assert sqlerrm like '%closed%', sqlerrm;
end
$$;
rollback;
