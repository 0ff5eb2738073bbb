-- Old revisions go, the current one and the last of the others stay.
begin;
do $$
begin
    perform kompanion.upsert_item('acme', 'k', 'c' || n) from generate_series(1, 5) n;
    update kompanion.memory_item_revisions
    set updated_at = updated_at - interval '1 hour', superseded_at = superseded_at - interval '1 hour';
    assert kompanion.trim_history('2 hours', keep_last => 2) = 0;
    assert kompanion.trim_history('0', keep_last => 2) = 2;
    assert array(select content from kompanion.item_history('acme', 'k')) = array['c3', 'c4', 'c5'];
end
$$;
rollback;
