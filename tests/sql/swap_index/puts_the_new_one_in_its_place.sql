-- The new index takes the name of the old one, which is left to be dropped.
begin;
do $$
declare
    v_name text;
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.ensure_index('small', 'hnsw');
    v_name := format('kompanion.embeddings_ann_%s', (select m.model_id from kompanion.embedding_models m));
    execute (select s.statement from kompanion.index_statements('small', 'ivfflat', 10, concurrently => false) s where s.step = 1);
    perform kompanion.swap_index('small', 123);
    assert (select pg_get_indexdef(v_name::regclass)) like '%USING ivfflat%', pg_get_indexdef(v_name::regclass);
    assert (select pg_get_indexdef((v_name || '_old')::regclass)) like '%USING hnsw%';
    assert (select index_rows from kompanion.list_models()) = 123;
end
$$;
rollback;
