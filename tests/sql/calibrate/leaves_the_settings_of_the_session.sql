-- After calibrating, the settings of the session are as before.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_items((
        select jsonb_agg(jsonb_build_object('namespace', 'acme:' || n % 3, 'key', n::text, 'content', 'text',
                                            'vectors', jsonb_build_array(jsonb_build_array(sin(n), cos(n * 1.7), sin(n * 0.3)))))
        from generate_series(1, 200) n));
    perform kompanion.ensure_index(kind => 'ivfflat', lists => 10);
    perform set_config('ivfflat.probes', '7', true);
    perform kompanion.calibrate(seconds => 20, sample => 10);
    assert current_setting('ivfflat.probes') = '7' and current_setting('enable_sort') = 'on' and current_setting('enable_seqscan') = 'on';
end
$$;
rollback;
