-- Before a calibration the settings of the index are safe defaults, and explaining says so.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_items((
        select jsonb_agg(jsonb_build_object('namespace', 'acme:' || n % 3, 'key', n::text, 'content', 'text',
                                            'vectors', jsonb_build_array(jsonb_build_array(sin(n), cos(n * 1.7), sin(n * 0.3)))))
        from generate_series(1, 200) n));
    perform kompanion.ensure_index(kind => 'hnsw');
    perform kompanion.set_setting('exact_threshold', '10');
    assert (select e ->> 'path' = 'index' and e ->> 'ef_search' = '100' and e ->> 'expected_recall' is null
                   and e ->> 'expected_recall_from' like 'not measured yet%' from kompanion.explain_search('*', '[1,0,0]') e);
end
$$;
rollback;
