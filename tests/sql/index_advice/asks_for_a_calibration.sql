-- An index that was never calibrated is named, with the statement that does it.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_items((
        select jsonb_agg(jsonb_build_object('namespace', 'acme:' || n % 3, 'key', n::text, 'content', 'text',
                                            'vectors', jsonb_build_array(jsonb_build_array(sin(n), cos(n * 1.7), sin(n * 0.3)))))
        from generate_series(1, 100) n));
    perform kompanion.ensure_index(kind => 'hnsw');
    perform kompanion.set_setting('index_min_rows', '50');
    assert (select advice like '%never calibrated%' and statement like '%kompanion.calibrate(%small%' from kompanion.index_advice() where statement not like 'vacuum%');
end
$$;
rollback;
