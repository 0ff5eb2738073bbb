-- What is searched exactly has a recall of 1, and the interval holds it.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_items((
        select jsonb_agg(jsonb_build_object('namespace', 'acme:' || n % 3, 'key', n::text, 'content', 'text',
                                            'vectors', jsonb_build_array(jsonb_build_array(sin(n), cos(n * 1.7), sin(n * 0.3)))))
        from generate_series(1, 200) n));
    assert (select asked = 50 and recall = 1 and high = 1 and low < 1 and by_index = 0 and milliseconds > 0
            from kompanion.measure_recall(sample => 50));
    assert (select asked = 1 and recall = 1 from kompanion.measure_recall(scope => 'acme:1', queries => array['[1,0,0]']::vector[]));
    assert (select asked = 0 and recall is null from kompanion.measure_recall(scope => 'nowhere'));
end
$$;
rollback;
