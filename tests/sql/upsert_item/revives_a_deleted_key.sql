-- Writing a deleted key brings it back at the next revision.
begin;
do $$
begin
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste']);
    perform kompanion.delete_item('acme:ann', 'tea');
    assert (select (revision, status) = (3, 'revised') from kompanion.upsert_item('acme:ann', 'tea', 'again'));
end
$$;
rollback;
