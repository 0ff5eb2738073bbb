-- A live item is one row, anything else is none.
begin;
do $$
begin
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste']);
    assert (select (content, revision) = ('Ann drinks green tea', 1) from kompanion.get_item('acme:ann', 'tea'));
    assert not exists (select 1 from kompanion.get_item('acme:ann', 'coffee'));
    perform kompanion.delete_item('acme:ann', 'tea');
    assert not exists (select 1 from kompanion.get_item('acme:ann', 'tea'));
end
$$;
rollback;
