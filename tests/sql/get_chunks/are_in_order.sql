-- Chunks of an item come in their order.
begin;
do $$
begin
    perform kompanion.upsert_item('acme', 'k', 'ab', chunks => array['a', 'b'], chunk_starts => array[0, 1], chunk_ends => array[1, 2]);
    perform kompanion.put_chunks('acme', 'k', array['b', 'a'], array[1, 0], array[2, 1]);
    assert array(select content from kompanion.get_chunks('acme', 'k')) = array['b', 'a'];
    assert array(select ordinal from kompanion.get_chunks('acme', 'k')) = array[0, 1];
    assert (select chunk_id from kompanion.get_chunks('acme', 'k') where ordinal = 0)
         > (select chunk_id from kompanion.get_chunks('acme', 'k') where ordinal = 1), 'the ids run against the order';
end
$$;
rollback;
