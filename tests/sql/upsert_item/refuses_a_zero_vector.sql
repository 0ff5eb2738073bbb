-- A zero vector has no direction under cosine.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_item('acme', 'k', 'c', vectors => array['[0,0,0]']::vector[]);
    assert false, 'it was not refused';
exception when sqlstate 'KM004' then
    assert sqlerrm like 'vectors[1]%zero%', sqlerrm;
end
$$;
rollback;
