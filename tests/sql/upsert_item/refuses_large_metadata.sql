-- Metadata is at most 1 MiB.
begin;
do $$
begin
    perform kompanion.upsert_item('acme', 'k', 'c', jsonb_build_object('a', repeat('x', 1048577)));
    assert false, 'it was not refused';
exception when sqlstate 'KM008' then
    assert sqlerrm like 'metadata:%', sqlerrm;
end
$$;
rollback;
