-- A document says what it is.
begin;
do $$
begin
    perform kompanion.import_documents('[{"kind": "horse"}]');
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'documents:%', sqlerrm;
end
$$;
rollback;
