-- Each superseded revision is kept, deletion included.
begin;
do $$
begin
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste']);
    perform kompanion.upsert_item('acme:ann', 'tea', 'black tea', actor => 'ann');
    perform kompanion.delete_item('acme:ann', 'tea');
    assert array(select content from kompanion.item_history('acme:ann', 'tea')) = array['Ann drinks green tea', 'black tea', 'black tea'];
    assert array(select deleted_at is not null from kompanion.item_history('acme:ann', 'tea')) = array[false, false, true];
end
$$;
rollback;
