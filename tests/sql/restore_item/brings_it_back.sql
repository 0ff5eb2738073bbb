-- A deleted item comes back as it was.
begin;
do $$
begin
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste']);
    perform kompanion.delete_item('acme:ann', 'tea');
    assert (select (revision, status) = (3, 'restored') from kompanion.restore_item('acme:ann', 'tea'));
    assert (select content from kompanion.get_item('acme:ann', 'tea')) = 'Ann drinks green tea';
end
$$;
rollback;
