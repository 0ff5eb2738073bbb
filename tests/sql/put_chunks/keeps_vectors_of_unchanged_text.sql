-- A chunk whose text stays keeps its vector.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_item('acme', 'k', 'ab', chunks => array['a', 'b'], chunk_starts => array[0, 1], chunk_ends => array[1, 2], vectors => array['[1,0,0]', '[0,1,0]']::vector[]);
    assert (select string_agg(cardinality(p.embedded)::text, ' ' order by p.ordinal) from kompanion.put_chunks('acme', 'k', array['b', 'ab'], array[1, 0], array[2, 2]) p) = '1 0';
    assert (select count(*) from kompanion.live_embeddings) = 1;
    assert (select count(*) from kompanion.embedding_queue) = 1;
end
$$;
rollback;
