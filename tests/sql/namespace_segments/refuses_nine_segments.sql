-- A path has at most eight segments.
begin;
do $$
begin
    perform kompanion.namespace_segments('a:b:c:d:e:f:g:h:i');
    assert false, 'it was not refused';
exception when sqlstate 'KM002' then
    assert sqlerrm like '%9 segments%', sqlerrm;
end
$$;
rollback;
