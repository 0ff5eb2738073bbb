-- A vector is stored only for the text it was made from.
begin;
do $$
declare
    v record;
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste']);
    select * into v from kompanion.pending_embeddings();
    assert (select status from kompanion.put_embeddings(array[v.namespace_id], array[v.chunk_id], array[v.chunk_revision + 1], array['[1,0,0]']::vector[])) = 'stale';
    assert (select status from kompanion.put_embeddings(array[v.namespace_id], array[v.chunk_id], array[v.chunk_revision], array['[1,0,0]']::vector[])) = 'stored';
end
$$;
rollback;
