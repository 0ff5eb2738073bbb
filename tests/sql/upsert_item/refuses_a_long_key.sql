-- A key has at most 512 characters.
begin;
do $$
begin
    perform kompanion.upsert_item('acme', repeat('k', 513), 'c');
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'key:%', sqlerrm;
end
$$;
rollback;
