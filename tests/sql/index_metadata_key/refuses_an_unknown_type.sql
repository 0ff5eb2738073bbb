-- A key is indexed as text or as a number.
begin;
do $$
begin
    perform kompanion.index_metadata_key('topic', 'date');
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'type:%', sqlerrm;
end
$$;
rollback;
