-- Reverting writes the old content as a new revision.
begin;
do $$
begin
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste']);
    perform kompanion.upsert_item('acme:ann', 'tea', 'black tea');
    assert (select (revision_now, status) = (3, 'revised') from kompanion.revert_item('acme:ann', 'tea', 1));
    assert (select content from kompanion.get_item('acme:ann', 'tea')) = 'Ann drinks green tea';
end
$$;
rollback;
