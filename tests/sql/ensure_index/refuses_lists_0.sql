-- An ivfflat index has at least one list.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.ensure_index(kind => 'ivfflat', lists => 0);
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'kind, lists:%', sqlerrm;
end
$$;
rollback;
