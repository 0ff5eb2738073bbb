-- A filter with an unknown operator is named.
begin;
do $$
begin
    perform kompanion.list_items('acme', '{"a": {"$regex": "x"}}');
    assert false, 'it was not refused';
exception when sqlstate 'KM006' then
    assert sqlerrm like 'filter:%$regex%', sqlerrm;
end
$$;
rollback;
