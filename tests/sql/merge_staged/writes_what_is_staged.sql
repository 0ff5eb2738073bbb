-- Staged items are written, each as one chunk when none is given.
begin;
do $$
begin
    perform kompanion.begin_staging();
    insert into pg_temp.staged_items (ord, namespace, key, content) values (1, 'a', 'x', 'one'), (2, 'a', 'y', 'two');
    assert (select count(*) from kompanion.merge_staged() where status = 'inserted') = 2;
    assert (select count(*) from kompanion.live_chunks) = 2;
    perform kompanion.begin_staging();
    insert into pg_temp.staged_items (ord, namespace, content) values (1, 'a', 'without a key');
    assert (select status from kompanion.merge_staged()) = 'inserted';
    assert (select status from kompanion.merge_staged()) = 'unchanged', 'what was merged before is written once';
    assert (select key = item_id::text from kompanion.live_items where content = 'without a key');
end
$$;
rollback;
