-- A hot key gets an index, once.
begin;
do $$
begin
    perform kompanion.index_metadata_key('topic');
    perform kompanion.index_metadata_key('topic');
    assert (select count(*) from pg_indexes where schemaname = 'kompanion' and indexname like 'memory_items_metadata_text_%') = 1;
    assert kompanion.setting('indexed_metadata') = '{"topic": "text"}';
end
$$;
rollback;
