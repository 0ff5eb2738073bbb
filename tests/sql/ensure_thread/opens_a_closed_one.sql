-- A closed thread is opened again on request.
begin;
do $$
begin
    perform kompanion.ensure_thread('acme', 't');
    perform kompanion.close_thread('acme', 't');
    perform kompanion.ensure_thread('acme', 't', reopen => true);
    perform kompanion.upsert_item('acme', 'k', 'c', thread => 't');
    assert (select closed_at is null from kompanion.threads);
end
$$;
rollback;
