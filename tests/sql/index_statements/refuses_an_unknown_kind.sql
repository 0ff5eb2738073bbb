-- An index is none, ivfflat or hnsw.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.index_statements(kind => 'btree');
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'kind, lists:%', sqlerrm;
end
$$;
rollback;
