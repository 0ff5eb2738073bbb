-- Merging without staging is an error that says what to do first.
begin;
drop table if exists pg_temp.staged_items, pg_temp.staged_chunks;
do $$
begin
    perform kompanion.merge_staged();
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like '%nothing is staged%', sqlerrm;
end
$$;
rollback;
