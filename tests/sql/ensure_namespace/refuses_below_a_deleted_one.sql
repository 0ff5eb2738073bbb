-- Nothing new is made below a deleted namespace.
begin;
do $$
begin
    perform kompanion.ensure_namespace('acme');
    perform kompanion.delete_namespace('acme');
    perform kompanion.ensure_namespace('acme:new');
    assert false, 'it was not refused';
exception when sqlstate 'KM009' then
    assert sqlerrm like '%deleted%', sqlerrm;
end
$$;
rollback;
