-- A list of items is written at once, one status each.
begin;
do $$
begin
    assert array(select status from kompanion.upsert_items('[{"namespace": "a", "key": "x", "content": "1"}, {"namespace": "a", "key": "x", "content": "2"}]') order by ord) = array['inserted', 'revised'];
    assert (select content from kompanion.get_item('a', 'x')) = '2';
end
$$;
rollback;
