-- What was deleted longer ago than the retention is removed for good.
begin;
do $$
begin
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste']);
    perform kompanion.delete_item('acme:ann', 'tea');
    assert (select items from kompanion.purge()) = 0;
    update kompanion.memory_items set deleted_at = now() - interval '31 days';
    assert (select items from kompanion.purge()) = 1;
    assert not exists (select 1 from kompanion.memory_item_revisions);
end
$$;
rollback;
