-- A calibration that ran out of time goes on when it is called again.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_items((
        select jsonb_agg(jsonb_build_object('namespace', 'acme:' || n % 3, 'key', n::text, 'content', 'text',
                                            'vectors', jsonb_build_array(jsonb_build_array(sin(n), cos(n * 1.7), sin(n * 0.3)))))
        from generate_series(1, 600) n));
    perform kompanion.ensure_index(kind => 'ivfflat', lists => 20);
    perform kompanion.calibrate(seconds => 0.001, sample => 20);
    assert (select calibration ->> 'complete' = 'false' and (calibration ->> 'queries')::integer between 10 and 19 from kompanion.embedding_models);
    perform kompanion.calibrate(seconds => 20, sample => 20);
    assert (select calibration ->> 'complete' = 'true' and (calibration ->> 'queries')::integer = 20 from kompanion.embedding_models);
end
$$;
rollback;
