-- A page continues from a cursor, not from a name.
begin;
do $$
begin
    perform kompanion.list_threads('acme', after => 't1');
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'after:%', sqlerrm;
end
$$;
rollback;
