-- NULL is no path.
begin;
do $$
begin
    perform kompanion.namespace_segments(null);
    assert false, 'it was not refused';
exception when sqlstate 'KM002' then
    assert sqlerrm like '%null%', sqlerrm;
end
$$;
rollback;
