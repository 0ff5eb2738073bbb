-- A setting is read by its name.
begin;
do $$
begin
    assert kompanion.setting('target_recall') = '0.95';
end
$$;
rollback;
