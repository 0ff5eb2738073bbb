-- Changing a setting tells what it was.
begin;
do $$
begin
    assert kompanion.set_setting('target_recall', '0.9') = '0.95';
    assert kompanion.setting('target_recall') = '0.9';
end
$$;
rollback;
