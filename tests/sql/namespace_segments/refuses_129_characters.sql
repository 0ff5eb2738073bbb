-- A segment has at most 128 characters.
begin;
do $$
begin
    perform kompanion.namespace_segments(repeat('x', 129));
    assert false, 'it was not refused';
exception when sqlstate 'KM002' then
    assert sqlerrm like '%129 characters%', sqlerrm;
end
$$;
rollback;
