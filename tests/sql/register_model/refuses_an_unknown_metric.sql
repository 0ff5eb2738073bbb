-- A metric is cosine, l2 or inner_product.
begin;
do $$
begin
    perform kompanion.register_model('small', 3, 'manhattan');
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'metric:%', sqlerrm;
end
$$;
rollback;
