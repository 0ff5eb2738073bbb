-- Half precision is asked for, or comes with more than 2000 dimensions.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_items((
        select jsonb_agg(jsonb_build_object('namespace', 'acme:' || n % 3, 'key', n::text, 'content', 'text',
                                            'vectors', jsonb_build_array(jsonb_build_array(sin(n), cos(n * 1.7), sin(n * 0.3)))))
        from generate_series(1, 20) n));
    perform kompanion.register_model('long', 3000);
    if (select extversion from pg_extension where extname = 'vector') like '0.6.%' then
        return;
    end if;
    assert (select statement from kompanion.index_statements(kind => 'hnsw', half => true) where step = 1) like '%halfvec(3)% %halfvec_cosine_ops%';
    assert (select statement from kompanion.index_statements('long', kind => 'ivfflat') where step = 1) like '%halfvec(3000)%';
    begin
        perform kompanion.index_statements('long', kind => 'hnsw', half => false);
        assert false, 'no index of 3000 dimensions is in single precision';
    exception when sqlstate 'KM007' then
        null;
    end;
end
$$;
rollback;
