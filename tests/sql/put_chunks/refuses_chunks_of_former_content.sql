-- Chunks cut from former content are stale.
begin;
do $$
begin
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste']);
    perform kompanion.put_chunks('acme:ann', 'tea', '{}', '{}', '{}', 9);
    assert false, 'it was not refused';
exception when sqlstate 'KM011' then
    assert sqlerrm like 'content_revision:%', sqlerrm;
end
$$;
rollback;
