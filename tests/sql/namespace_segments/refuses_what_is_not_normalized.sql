-- A path must be in Unicode normal form NFC.
begin;
do $$
begin
    perform kompanion.namespace_segments(U&'cafe\0301');
    assert false, 'it was not refused';
exception when sqlstate 'KM002' then
    assert sqlerrm like '%NFC%', sqlerrm;
end
$$;
rollback;
