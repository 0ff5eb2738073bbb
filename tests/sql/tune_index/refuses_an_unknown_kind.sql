-- A candidate is ivfflat or hnsw.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.tune_index(kinds => '{ivfflat,btree}');
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'kinds:%', sqlerrm;
end
$$;
rollback;
