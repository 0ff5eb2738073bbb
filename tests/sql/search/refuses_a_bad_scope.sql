-- A scope is a path or a star.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.search('acme:*', '[1,0,0]');
    assert false, 'it was not refused';
exception when sqlstate 'KM002' then
    assert sqlerrm like 'bad namespace%', sqlerrm;
end
$$;
rollback;
