-- In half precision, where pgvector has it, an index is built for models up to 4000 dimensions.
begin;
do $$
begin
    perform kompanion.register_model('long', 3000);
    perform kompanion.upsert_item('acme', 'k', 'text', vectors => array[array_fill(1::real, array[3000])::vector]);
    perform kompanion.ensure_index(kind => 'hnsw');
    assert (select index_kind from kompanion.list_models())
         = case when (select extversion from pg_extension where extname = 'vector') like '0.6.%' then 'none' else 'hnsw' end;
    assert (select count(*) from kompanion.search('acme', array_fill(1::real, array[3000])::vector)) = 1;
end
$$;
rollback;
