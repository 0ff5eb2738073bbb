-- The first model is the default, and all chunks wait for it.
begin;
do $$
begin
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste']);
    assert (select is_default and queued = 1 from kompanion.register_model('small', 3));
    assert (select not is_default and queued = 1 from kompanion.register_model('large', 4));
    assert (select is_default and queued = 0 from kompanion.register_model('small', 3));
end
$$;
rollback;
