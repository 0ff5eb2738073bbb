-- Vectors carry the item of their chunk; a plain UPDATE does not move it to another.
begin;
do $$
begin
    perform kompanion.upsert_item('acme', 'one', 'menu');
    perform kompanion.upsert_item('acme', 'two', 'diary');
    begin
        update kompanion.memory_chunks c set item_id = i.item_id, ordinal = 9
        from kompanion.memory_items i where i.key = 'one' and c.content = 'diary';
        assert false, 'it was not refused';
    exception when sqlstate 'KM007' then
        assert sqlerrm = 'namespace_id, item_id, chunk_id: the identity of a chunk never changes', sqlerrm;
    end;
    update kompanion.memory_chunks c set item_id = c.item_id, content = 'another' where c.content = 'diary';
    assert (select c.revision from kompanion.memory_chunks c where c.content = 'another') = 2;
end
$$;
rollback;
