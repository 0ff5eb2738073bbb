-- An item is shown as it was at a moment.
begin;
do $$
begin
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste']);
    perform pg_sleep(0.002);
    perform kompanion.upsert_item('acme:ann', 'tea', 'black tea');
    assert (select h.content from kompanion.item_history('acme:ann', 'tea') f, kompanion.item_as_of('acme:ann', 'tea', f.updated_at) h where f.revision = 1) = 'Ann drinks green tea';
    assert not exists (select 1 from kompanion.item_as_of('acme:ann', 'tea', now() - interval '1 day'));
end
$$;
rollback;
