-- The rows an index was built from are remembered.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.record_index('small', 123);
    assert (select index_rows from kompanion.list_models()) = 123;
end
$$;
rollback;
