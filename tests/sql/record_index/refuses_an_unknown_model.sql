-- There is no index of an unknown model.
begin;
do $$
begin
    perform kompanion.record_index('none', 1);
    assert false, 'it was not refused';
exception when sqlstate 'KM005' then
    assert sqlerrm like 'model:%', sqlerrm;
end
$$;
rollback;
