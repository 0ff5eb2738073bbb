-- A setting that does not exist is an error, not NULL.
begin;
do $$
begin
    perform kompanion.setting('colour');
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'name:%', sqlerrm;
end
$$;
rollback;
