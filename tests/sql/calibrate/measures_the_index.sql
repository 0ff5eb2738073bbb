-- Calibrating measures recall and time of the index, and search chooses by it from then on.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_items((
        select jsonb_agg(jsonb_build_object('namespace', 'acme:' || n % 3, 'key', n::text, 'content', 'text',
                                            'vectors', jsonb_build_array(jsonb_build_array(sin(n), cos(n * 1.7), sin(n * 0.3)))))
        from generate_series(1, 600) n));
    perform kompanion.ensure_index(kind => 'ivfflat', lists => 20);
    assert (select count(*) > 5 and bool_and(recall between 0 and 1 and milliseconds > 0 and runs > 0 and knob between 1 and 20)
            from kompanion.calibrate(seconds => 20, sample => 100));
    assert (select calibration ->> 'complete' = 'true' and knobs is not null from kompanion.embedding_models);
    assert (select e ->> 'expected_recall' is not null from kompanion.explain_search('*', '[1,0,0]') e);
    assert not exists (select 1 from kompanion.index_advice() a where a.advice like '%calibrat%');
end
$$;
rollback;
