-- Items are counted live, expired and deleted.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste'], vectors => array['[1,0,0]']::vector[]);
    perform kompanion.upsert_item('acme:bob', 'milk', 'Bob drinks milk', '{"n": 2}', vectors => array['[0,1,0]']::vector[]);
    perform kompanion.delete_item('acme:bob', 'milk');
    assert (select (live, deleted, embedded) = (1::bigint, 0::bigint, 1::bigint) from kompanion.stats('acme:ann'));
    assert (select (live, deleted, embedded) = (0::bigint, 1::bigint, 0::bigint) from kompanion.stats('acme:bob'));
end
$$;
rollback;
