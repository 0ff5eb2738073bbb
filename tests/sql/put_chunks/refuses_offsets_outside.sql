-- A chunk lies inside its content.
begin;
do $$
begin
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste']);
    perform kompanion.put_chunks('acme:ann', 'tea', array['x'], array[0], array[99]);
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'chunks:%', sqlerrm;
end
$$;
rollback;
