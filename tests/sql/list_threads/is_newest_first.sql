-- Threads of a scope are listed, the newest first.
begin;
do $$
begin
    insert into kompanion.threads (namespace_id, key, created_at) select kompanion.ensure_namespace('acme'), 't' || n, now() - n * interval '1 hour' from generate_series(1, 3) n;
    assert array(select thread from kompanion.list_threads('acme')) = array['t1', 't2', 't3'];
    assert array(select thread from kompanion.list_threads('acme', after => (select cursor from kompanion.list_threads('acme', 1)))) = array['t2', 't3'];
end
$$;
rollback;
