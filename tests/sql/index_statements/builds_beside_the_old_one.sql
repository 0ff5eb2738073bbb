-- The statements for an index end with taking note of it.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste'], vectors => array['[1,0,0]']::vector[]);
    perform kompanion.upsert_item('acme:bob', 'milk', 'Bob drinks milk', '{"n": 2}', vectors => array['[0,1,0]']::vector[]);
    assert (select count(*) from kompanion.index_statements(kind => 'hnsw')) = 3;
    assert (select statement from kompanion.index_statements(kind => 'hnsw') where step = 1) like 'create index concurrently %using hnsw%';
end
$$;
rollback;
