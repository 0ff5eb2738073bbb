-- Models, namespaces, users and threads are exported, deleted ones too, after the format and the settings that belong to all.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste'], vectors => array['[1,0,0]']::vector[]);
    perform kompanion.upsert_item('acme:bob', 'milk', 'Bob drinks milk', '{"n": 2}', vectors => array['[0,1,0]']::vector[]);
    perform kompanion.delete_namespace('acme:bob');
    assert (select array_agg(distinct document ->> 'kind' order by document ->> 'kind') from kompanion.export_registry()) = array['export', 'model', 'namespace', 'setting'];
    assert (select array_agg(distinct document ->> 'kind' order by document ->> 'kind') from kompanion.export_registry('acme:ann')) = array['export', 'model', 'namespace'];
    assert (select document ->> 'format' from kompanion.export_registry() where document ->> 'kind' = 'export') = '2';
    assert (select count(*) from kompanion.export_registry() where document ->> 'kind' = 'namespace') = 2;
end
$$;
rollback;
