-- Chunks of an item come in their order.
begin;
do $$
begin
    perform kompanion.upsert_item('acme', 'k', 'ab', chunks => array['a', 'b'], chunk_starts => array[0, 1], chunk_ends => array[1, 2]);
    assert (select count(*) from kompanion.get_chunks('acme', 'k')) = 2;
end
$$;
rollback;
