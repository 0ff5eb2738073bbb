-- A deleted item is found no more.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste'], vectors => array['[1,0,0]']::vector[]);
    perform kompanion.upsert_item('acme:bob', 'milk', 'Bob drinks milk', '{"n": 2}', vectors => array['[0,1,0]']::vector[]);
    perform kompanion.delete_item('acme:ann', 'tea');
    assert array(select key from kompanion.search('*', '[1,0,0]')) = array['milk'];
end
$$;
rollback;
