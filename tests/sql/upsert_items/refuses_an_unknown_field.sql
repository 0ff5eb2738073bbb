-- A misspelt field is not dropped silently.
begin;
do $$
begin
    perform kompanion.upsert_items('[{"namespace": "a", "contents": "c"}]');
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'items[1]: has no field%', sqlerrm;
end
$$;
rollback;
