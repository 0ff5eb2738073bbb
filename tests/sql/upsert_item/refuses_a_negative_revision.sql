-- A revision is never negative.
begin;
do $$
begin
    perform kompanion.upsert_item('acme', 'k', 'c', expected_revision => -1);
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'expected_revision:%', sqlerrm;
end
$$;
rollback;
