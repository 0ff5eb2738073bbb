-- Closing a thread twice changes nothing.
begin;
do $$
begin
    perform kompanion.ensure_thread('acme', 't');
    assert kompanion.close_thread('acme', 't') = kompanion.close_thread('acme', 't');
end
$$;
rollback;
