-- A model without vectors would give short answers.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste'], vectors => array['[1,0,0]']::vector[]);
    perform kompanion.upsert_item('acme:bob', 'milk', 'Bob drinks milk', '{"n": 2}', vectors => array['[0,1,0]']::vector[]);
    perform kompanion.register_model('large', 4);
    perform kompanion.set_default_model('large');
    assert false, 'it was not refused';
exception when sqlstate 'KM012' then
    assert sqlerrm like '%lacks the vectors%', sqlerrm;
end
$$;
rollback;
