-- Closing a thread twice changes nothing.
begin;
do $$
begin
    perform kompanion.ensure_thread('acme', 't');
    perform kompanion.close_thread('acme', 't');
    update kompanion.threads set closed_at = now() - interval '1 hour';
    assert kompanion.close_thread('acme', 't') = now() - interval '1 hour';
    assert (select closed_at from kompanion.list_threads('acme')) = now() - interval '1 hour';
end
$$;
rollback;
