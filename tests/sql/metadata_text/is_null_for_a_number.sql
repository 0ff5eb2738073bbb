-- Only text is text.
begin;
do $$
begin
    assert kompanion.metadata_text('{"a": "x"}', array['a']) = 'x';
    assert kompanion.metadata_text('{"a": 2}', array['a']) is null;
end
$$;
rollback;
