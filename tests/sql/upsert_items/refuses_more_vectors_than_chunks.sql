-- A vector without a chunk is not made one.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_items('[{"namespace": "a", "content": "ab", "chunks": ["a"], "chunk_starts": [0], "chunk_ends": [1], "vectors": [[1,0,0],[0,1,0]]}]');
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'items[1].vectors:%', sqlerrm;
end
$$;
rollback;
