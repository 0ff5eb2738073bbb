-- Namespaces are listed in order, page by page.
begin;
do $$
begin
    perform kompanion.ensure_namespace(n) from unnest(array['b', 'a:z', 'a', 'a2']) n;
    assert array(select namespace from kompanion.list_namespaces()) = array['a', 'a:z', 'a2', 'b'];
    assert array(select namespace from kompanion.list_namespaces('a')) = array['a', 'a:z'];
    assert array(select namespace from kompanion.list_namespaces(page_size => 2, after => 'a')) = array['a:z', 'a2'];
end
$$;
rollback;
