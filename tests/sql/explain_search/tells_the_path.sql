-- A search tells which path it took and what it counted.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste'], vectors => array['[1,0,0]']::vector[]);
    perform kompanion.upsert_item('acme:bob', 'milk', 'Bob drinks milk', '{"n": 2}', vectors => array['[0,1,0]']::vector[]);
    assert (select e ->> 'path' = 'exact' and (e ->> 'matches')::int = 2 and (e ->> 'expected_recall')::float = 1 from kompanion.explain_search('*', '[1,0,0]') e);
end
$$;
rollback;
