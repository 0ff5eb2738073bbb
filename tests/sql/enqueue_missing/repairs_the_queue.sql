-- A chunk that lost its place in the queue is queued again.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste']);
    delete from kompanion.embedding_queue;
    assert kompanion.enqueue_missing() = 1;
    assert kompanion.enqueue_missing() = 0;
end
$$;
rollback;
