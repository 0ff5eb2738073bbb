-- A deleted namespace takes all below it along, and no look-alike.
begin;
do $$
begin
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste']);
    perform kompanion.upsert_item('acme2', 'k', 'other');
    assert kompanion.delete_namespace('acme') = 2;
    assert array(select namespace from kompanion.list_items('*')) = array['acme2'];
end
$$;
rollback;
