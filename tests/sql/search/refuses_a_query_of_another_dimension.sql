-- The query has the dimension of the model.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.search('*', '[1,0]');
    assert false, 'it was not refused';
exception when sqlstate 'KM004' then
    assert sqlerrm like 'query:%', sqlerrm;
end
$$;
rollback;
