-- There is no advice on an unknown model.
begin;
do $$
begin
    perform kompanion.index_advice('none');
    assert false, 'it was not refused';
exception when sqlstate 'KM005' then
    assert sqlerrm like 'model:%', sqlerrm;
end
$$;
rollback;
