-- What a worker gives back is handed out again at once, and what another one holds is not its to give.
begin;
do $$
declare
    v record;
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste']);
    select * into v from kompanion.pending_embeddings(worker => 'w');
    assert kompanion.release_embeddings(array[v.namespace_id], array[v.chunk_id], worker => 'other') = 0;
    assert kompanion.release_embeddings(array[v.namespace_id], array[v.chunk_id]) = 0;
    assert not exists (select 1 from kompanion.pending_embeddings());
    assert kompanion.release_embeddings(array[v.namespace_id], array[v.chunk_id], worker => 'w') = 1;
    assert kompanion.release_embeddings(array[v.namespace_id], array[v.chunk_id], worker => 'w') = 0;
    assert (select chunk_id from kompanion.pending_embeddings()) = v.chunk_id;
end
$$;
rollback;
