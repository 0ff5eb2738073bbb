-- A scope is a path or a star.
begin;
do $$
begin
    perform kompanion.stats('');
    assert false, 'it was not refused';
exception when sqlstate 'KM002' then
    assert sqlerrm like 'bad namespace%', sqlerrm;
end
$$;
rollback;
