-- Nothing is trimmed before it is superseded.
begin;
do $$
begin
    perform kompanion.trim_history('-1 day');
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'keep_for%', sqlerrm;
end
$$;
rollback;
