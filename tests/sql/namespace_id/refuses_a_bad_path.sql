-- A path with an empty segment has no id.
begin;
do $$
begin
    perform kompanion.namespace_id('acme::ann');
    assert false, 'it was not refused';
exception when sqlstate 'KM002' then
    assert sqlerrm like '%empty segment%', sqlerrm;
end
$$;
rollback;
