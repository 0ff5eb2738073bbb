-- Items that are there already are skipped.
begin;
do $$
declare
    docs jsonb;
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste'], vectors => array['[1,0,0]']::vector[]);
    perform kompanion.upsert_item('acme:bob', 'milk', 'Bob drinks milk', '{"n": 2}', vectors => array['[0,1,0]']::vector[]);
    docs := (select jsonb_agg(document) from (select document from kompanion.export_registry() union all select document from kompanion.export_items()) d);
    assert (select (items, skipped) = (0::bigint, 2::bigint) from kompanion.import_documents(docs));
    delete from kompanion.memory_items where key = 'tea';
    assert (select (items, skipped) = (1::bigint, 1::bigint) from kompanion.import_documents(docs));
    assert (select key from kompanion.search('*', '[1,0,0]', 1)) = 'tea';
end
$$;
rollback;
