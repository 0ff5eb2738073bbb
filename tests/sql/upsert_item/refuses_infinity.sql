-- A moment is one that clients can read.
begin;
do $$
begin
    perform kompanion.upsert_item('acme', 'k', 'c', expires_at => 'infinity');
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'expires_at:%', sqlerrm;
end
$$;
rollback;
