-- Only a number is a number.
begin;
do $$
begin
    assert kompanion.metadata_number('{"a": {"b": 2}}', array['a', 'b']) = 2;
    assert kompanion.metadata_number('{"a": "2"}', array['a']) is null;
end
$$;
rollback;
