-- The best candidate is remembered, index_statements builds it, and nothing else has changed.
begin;
do $$
declare
    v_lists integer;
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_items((
        select jsonb_agg(jsonb_build_object('namespace', 'acme:' || n % 3, 'key', n::text, 'content', 'text',
                                            'vectors', jsonb_build_array(jsonb_build_array(sin(n), cos(n * 1.7), sin(n * 0.3)))))
        from generate_series(1, 1200) n));
    select lists into v_lists from kompanion.tune_index(kinds => '{ivfflat}', seconds => 30, sample => 10) t where t.chosen;
    assert v_lists is not null;
    assert (select index_choice ->> 'kind' = 'ivfflat' and (index_choice ->> 'lists')::integer = v_lists from kompanion.embedding_models);
    assert (select statement from kompanion.index_statements() where statement like 'create index%') like format('%%(lists = %s)%%', v_lists);
    assert to_regclass('kompanion.tuning_copy') is null and (select index_kind from kompanion.list_models()) = 'none';
end
$$;
rollback;
