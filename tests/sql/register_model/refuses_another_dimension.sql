-- A model keeps its dimension.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.register_model('small', 4);
    assert false, 'it was not refused';
exception when sqlstate 'KM012' then
    assert sqlerrm like '%another dimension%', sqlerrm;
end
$$;
rollback;
