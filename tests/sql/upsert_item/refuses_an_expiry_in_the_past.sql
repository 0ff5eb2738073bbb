-- Nothing is born expired.
begin;
do $$
begin
    perform kompanion.upsert_item('acme', 'k', 'c', expires_at => now() - interval '1 day');
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'expires_at%', sqlerrm;
end
$$;
rollback;
