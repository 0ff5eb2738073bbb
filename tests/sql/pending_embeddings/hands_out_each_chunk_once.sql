-- A chunk is with one worker until its lease ends.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste']);
    assert (select content from kompanion.pending_embeddings(worker => 'w')) = 'Ann drinks green tea';
    assert not exists (select 1 from kompanion.pending_embeddings());
end
$$;
rollback;
