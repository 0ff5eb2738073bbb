-- A filter is nested at most 32 levels deep.
begin;
do $$
begin
    perform kompanion.compile_filter((repeat('{"$not": ', 33) || '{"a": 1}' || repeat('}', 33))::jsonb);
    assert false, 'it was not refused';
exception when sqlstate 'KM006' then
    assert sqlerrm like '%32 levels%', sqlerrm;
end
$$;
rollback;
