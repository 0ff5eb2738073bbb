-- The first write inserts, a change revises, the same again changes nothing.
begin;
do $$
begin
    assert (select (revision, status) = (1, 'inserted') from kompanion.upsert_item('acme', 'k', 'one'));
    assert (select (revision, status) = (2, 'revised') from kompanion.upsert_item('acme', 'k', 'two'));
    assert (select (revision, status) = (2, 'unchanged') from kompanion.upsert_item('acme', 'k', 'two'));
end
$$;
rollback;
