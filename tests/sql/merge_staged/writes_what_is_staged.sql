-- Staged items are written, each as one chunk when none is given.
begin;
do $$
begin
    perform kompanion.begin_staging();
    insert into pg_temp.staged_items (ord, namespace, key, content) values (1, 'a', 'x', 'one'), (2, 'a', 'y', 'two');
    assert (select count(*) from kompanion.merge_staged() where status = 'inserted') = 2;
    assert (select count(*) from kompanion.live_chunks) = 2;
end
$$;
rollback;
