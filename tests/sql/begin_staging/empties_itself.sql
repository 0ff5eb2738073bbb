-- The staging tables are empty at the start.
begin;
do $$
begin
    perform kompanion.begin_staging();
    insert into pg_temp.staged_items (ord, namespace, content) values (1, 'a', 'c');
    perform kompanion.begin_staging();
    assert not exists (select 1 from pg_temp.staged_items);
end
$$;
rollback;
