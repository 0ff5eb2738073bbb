-- A life is extended, never shortened.
begin;
do $$
begin
    perform kompanion.upsert_item('acme', 'k', 'c', ttl => '10 days');
    assert (select status from kompanion.touch_item('acme', 'k', ttl => '1 day')) = 'unchanged';
    assert (select status from kompanion.touch_item('acme', 'k', ttl => '20 days')) = 'revised';
end
$$;
rollback;
