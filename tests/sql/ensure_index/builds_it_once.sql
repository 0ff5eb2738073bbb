-- An index is built when asked for, and then all is well.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste'], vectors => array['[1,0,0]']::vector[]);
    perform kompanion.upsert_item('acme:bob', 'milk', 'Bob drinks milk', '{"n": 2}', vectors => array['[0,1,0]']::vector[]);
    assert (select count(*) from kompanion.ensure_index(kind => 'hnsw')) > 0;
    assert (select count(*) from kompanion.ensure_index(kind => 'hnsw')) = 0;
    assert (select index_kind from kompanion.list_models()) = 'hnsw';
end
$$;
rollback;
