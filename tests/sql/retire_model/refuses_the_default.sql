-- The default model is in use.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.retire_model('small');
    assert false, 'it was not refused';
exception when sqlstate 'KM012' then
    assert sqlerrm like '%the default%', sqlerrm;
end
$$;
rollback;
