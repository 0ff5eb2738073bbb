-- A row is live unless it is deleted or its time is over.
begin;
do $$
begin
    assert kompanion.is_live(null, null);
    assert kompanion.is_live(null, now() + interval '1 second');
    assert not kompanion.is_live(null, now());
    assert not kompanion.is_live(now(), null);
end
$$;
rollback;
