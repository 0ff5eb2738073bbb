-- A writer who read an older revision is told so.
begin;
do $$
begin
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste']);
    perform kompanion.upsert_item('acme:ann', 'tea', 'c', expected_revision => 7);
    assert false, 'it was not refused';
exception when sqlstate 'KM001' then
    assert sqlerrm like 'expected_revision:%', sqlerrm;
end
$$;
rollback;
