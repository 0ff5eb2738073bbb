-- A retired model is no longer searched nor embedded for.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste'], vectors => array['[1,0,0]']::vector[]);
    perform kompanion.upsert_item('acme:bob', 'milk', 'Bob drinks milk', '{"n": 2}', vectors => array['[0,1,0]']::vector[]);
    perform kompanion.register_model('large', 4);
    assert kompanion.retire_model('large') = 0;
    assert not exists (select 1 from kompanion.embedding_queue);
    begin
        perform kompanion.pending_embeddings('large');
        assert false;
    exception when sqlstate 'KM005' then null;
    end;
end
$$;
rollback;
