-- Old revisions go, the current one and the last of the others stay.
begin;
do $$
begin
    perform kompanion.upsert_item('acme', 'k', 'c' || n) from generate_series(1, 5) n;
    assert kompanion.trim_history('0', keep_last => 2) in (0, 2);
    assert (select max(revision) from kompanion.item_history('acme', 'k')) = 5;
end
$$;
rollback;
