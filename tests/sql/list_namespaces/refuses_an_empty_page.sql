-- A page has at least one row.
begin;
do $$
begin
    perform kompanion.list_namespaces(page_size => 0);
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'page_size:%', sqlerrm;
end
$$;
rollback;
