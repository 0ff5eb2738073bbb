-- Times that lists cannot be in the order of are refused at the table.
begin;
do $$
begin
    perform kompanion.ensure_thread('acme', 't');
    begin
        update kompanion.threads set created_at = 'infinity';
        assert false, 'it was taken';
    exception when check_violation then null;
    end;
    begin
        update kompanion.threads set closed_at = '-infinity';
        assert false, 'it was taken';
    exception when check_violation then null;
    end;
end
$$;
rollback;
