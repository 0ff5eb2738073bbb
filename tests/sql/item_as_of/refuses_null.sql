-- There is no looking back to no moment.
begin;
do $$
begin
    perform kompanion.item_as_of('acme', 'k', null);
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'at:%', sqlerrm;
end
$$;
rollback;
