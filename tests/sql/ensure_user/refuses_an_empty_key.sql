-- A user has a name.
begin;
do $$
begin
    perform kompanion.ensure_user('acme', '');
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'key:%', sqlerrm;
end
$$;
rollback;
