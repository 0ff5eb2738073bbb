-- A vector has the dimension of its model.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_item('acme', 'k', 'c', vectors => array['[1,0]']::vector[]);
    assert false, 'it was not refused';
exception when sqlstate 'KM004' then
    assert sqlerrm like 'vectors[1]%', sqlerrm;
end
$$;
rollback;
