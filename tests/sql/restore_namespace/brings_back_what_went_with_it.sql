-- A deleted namespace comes back whole.
begin;
do $$
begin
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste']);
    perform kompanion.delete_namespace('acme');
    assert kompanion.restore_namespace('acme') = 2;
    assert (select content from kompanion.get_item('acme:ann', 'tea')) = 'Ann drinks green tea';
end
$$;
rollback;
