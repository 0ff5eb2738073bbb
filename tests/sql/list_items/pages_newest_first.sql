-- Items come newest first, page after page.
begin;
do $$
begin
    perform kompanion.upsert_item('acme', 'k' || n, 'c', jsonb_build_object('n', n), created_at => now() - n * interval '1 hour') from generate_series(1, 5) n;
    assert array(select key from kompanion.list_items('acme', page_size => 2)) = array['k1', 'k2'];
    assert array(select key from kompanion.list_items('acme', page_size => 2, after => (select cursor from kompanion.list_items('acme', page_size => 2) where key = 'k2'))) = array['k3', 'k4'];
    assert array(select key from kompanion.list_items('acme', '{"n": {"$gte": 4}}')) = array['k4', 'k5'];
end
$$;
rollback;
