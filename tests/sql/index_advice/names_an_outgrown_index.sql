-- An ivfflat index that was built from far fewer rows is named, and the statements repair it.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_items((
        select jsonb_agg(jsonb_build_object('namespace', 'acme:' || n % 3, 'key', n::text, 'content', 'text',
                                            'vectors', jsonb_build_array(jsonb_build_array(sin(n), cos(n * 1.7), sin(n * 0.3)))))
        from generate_series(1, 100) n));
    perform kompanion.ensure_index(kind => 'ivfflat', lists => 5);
    assert not exists (select 1 from kompanion.index_advice() where statement not like 'vacuum%');
    perform kompanion.upsert_items((
        select jsonb_agg(jsonb_build_object('namespace', 'acme', 'content', 'text', 'vectors', jsonb_build_array(jsonb_build_array(n, 1, -1))))
        from generate_series(1, 100) n));
    assert (select advice from kompanion.index_advice() where statement not like 'vacuum%') like 'the index learned its lists from 100 rows, there are 200 now%';
    perform kompanion.ensure_index();
    assert not exists (select 1 from kompanion.index_advice() where statement not like 'vacuum%');
end
$$;
rollback;
