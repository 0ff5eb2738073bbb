-- Extending needs to know how long.
begin;
do $$
begin
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste']);
    perform kompanion.touch_item('acme:ann', 'tea');
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'expires_at, ttl:%', sqlerrm;
end
$$;
rollback;
