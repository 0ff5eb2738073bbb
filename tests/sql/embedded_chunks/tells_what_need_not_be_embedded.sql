-- A chunk with a vector need not be embedded again.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste'], vectors => array['[1,0,0]']::vector[]);
    perform kompanion.upsert_item('acme:bob', 'milk', 'Bob drinks milk', '{"n": 2}', vectors => array['[0,1,0]']::vector[]);
    perform kompanion.upsert_item('acme:ann', 'milk', 'Ann drinks green tea', '{"n": 1}', array['taste']);
    assert array(select content from kompanion.embedded_chunks(array['acme:ann', 'acme:bob', 'acme:ann'], array['tea', 'milk', 'none'])) = array['Ann drinks green tea', 'Bob drinks milk'];
    perform kompanion.delete_item('acme:ann', 'tea');
    perform kompanion.delete_namespace('acme:bob');
    assert array(select content from kompanion.embedded_chunks(array['acme:ann', 'acme:bob'], array['tea', 'milk'])) = '{}', 'what is deleted is shown to nobody';
end
$$;
rollback;
