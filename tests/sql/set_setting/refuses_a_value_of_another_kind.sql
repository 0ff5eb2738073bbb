-- A number that is written as text is not taken for a number.
begin;
do $$
begin
    perform kompanion.set_setting('target_recall', '"0.9"');
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'value:%', sqlerrm;
end
$$;
rollback;
