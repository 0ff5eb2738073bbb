-- The new index is built under another name, and swapped in; with no old one there is nothing to drop.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste'], vectors => array['[1,0,0]']::vector[]);
    perform kompanion.upsert_item('acme:bob', 'milk', 'Bob drinks milk', '{"n": 2}', vectors => array['[0,1,0]']::vector[]);
    assert (select count(*) from kompanion.index_statements(kind => 'hnsw')) = 2;
    assert (select statement from kompanion.index_statements(kind => 'hnsw') where step = 1) like 'create index concurrently %_new on %using hnsw%';
    assert (select statement from kompanion.index_statements(kind => 'hnsw') where step = 2) like 'select kompanion.swap_index(''small'', %)';
end
$$;
rollback;
