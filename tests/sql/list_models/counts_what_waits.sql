-- Models are listed with how many chunks wait for each.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste']);
    assert (select (model, dim, metric, is_default, queued) = ('small', 3, 'cosine', true, 1::bigint) from kompanion.list_models());
end
$$;
rollback;
