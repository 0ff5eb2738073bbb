-- A retention of 300,000 years would break every purge.
begin;
do $$
begin
    perform kompanion.set_setting('retention_deleted', '"300000 years"');
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'value:%', sqlerrm;
end
$$;
rollback;
