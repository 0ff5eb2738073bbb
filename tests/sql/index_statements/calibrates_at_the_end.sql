-- Where there are rows enough, the statements end with measuring the new index.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_items((
        select jsonb_agg(jsonb_build_object('namespace', 'acme:' || n % 3, 'key', n::text, 'content', 'text',
                                            'vectors', jsonb_build_array(jsonb_build_array(sin(n), cos(n * 1.7), sin(n * 0.3)))))
        from generate_series(1, 20) n));
    perform kompanion.set_setting('index_min_rows', '10');
    assert (select statement from kompanion.index_statements() order by step desc limit 1) like '%kompanion.calibrate(''small'')%';
    assert not exists (select 1 from kompanion.index_statements(concurrently => false) where statement like '%calibrate%');
end
$$;
rollback;
