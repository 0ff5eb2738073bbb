-- A filter is usable on the view as one jsonpath.
begin;
do $$
begin
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste']);
    assert (select count(*) from kompanion.live_items where metadata @@ kompanion.compile_filter('{"n": {"$gte": 1}}')) = 1;
    assert (select count(*) from kompanion.live_items where metadata @@ kompanion.compile_filter('{"n": {"$gt": 1}}')) = 0;
    assert kompanion.compile_filter('{}') is null;
end
$$;
rollback;
