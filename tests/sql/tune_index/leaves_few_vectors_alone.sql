-- Few vectors are searched exactly faster than by any index.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_items((
        select jsonb_agg(jsonb_build_object('namespace', 'acme:' || n % 3, 'key', n::text, 'content', 'text',
                                            'vectors', jsonb_build_array(jsonb_build_array(sin(n), cos(n * 1.7), sin(n * 0.3)))))
        from generate_series(1, 20) n));
    assert not exists (select 1 from kompanion.tune_index());
    assert to_regclass('kompanion.tuning_copy') is null;
end
$$;
rollback;
