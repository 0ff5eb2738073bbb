-- A document that lacks a field is refused as such.
begin;
do $$
begin
    perform kompanion.import_documents('[{"kind": "item", "namespace": "a"}]');
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'documents:%', sqlerrm;
end
$$;
rollback;
