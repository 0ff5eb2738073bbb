-- There is no way back to what never was.
begin;
do $$
begin
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste']);
    perform kompanion.revert_item('acme:ann', 'tea', 9);
    assert false, 'it was not refused';
exception when sqlstate 'KM003' then
    assert sqlerrm like 'revision:%', sqlerrm;
end
$$;
rollback;
