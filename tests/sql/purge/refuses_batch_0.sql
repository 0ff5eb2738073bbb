-- A batch has at least one row.
begin;
do $$
begin
    perform kompanion.purge(0);
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'batch:%', sqlerrm;
end
$$;
rollback;
