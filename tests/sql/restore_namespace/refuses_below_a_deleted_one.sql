-- What is below a deleted namespace stays hidden with it.
begin;
do $$
begin
    perform kompanion.ensure_namespace('acme:ann:notes');
    perform kompanion.delete_namespace('acme:ann');
    update kompanion.namespaces set deleted_at = now() - interval '1 hour' where deleted_at is not null;
    perform kompanion.delete_namespace('acme');
    begin
        perform kompanion.restore_namespace('acme:ann');
        assert false, 'it was not refused';
    exception when sqlstate 'KM009' then
        assert sqlerrm = 'namespace ''acme'', above it, is deleted', sqlerrm;
    end;
    perform kompanion.restore_namespace('acme');
    assert kompanion.restore_namespace('acme:ann') = 2;
end
$$;
rollback;
