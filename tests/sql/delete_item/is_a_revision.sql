-- A deletion is the next revision, and deleting twice changes nothing.
begin;
do $$
begin
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste']);
    assert (select (revision, status) = (2, 'deleted') from kompanion.delete_item('acme:ann', 'tea'));
    assert (select (revision, status) = (2, 'unchanged') from kompanion.delete_item('acme:ann', 'tea'));
end
$$;
rollback;
