-- One item is in one namespace, not in a pattern.
begin;
do $$
begin
    perform kompanion.get_item('*', 'tea');
    assert false, 'it was not refused';
exception when sqlstate 'KM002' then
    assert sqlerrm like 'bad namespace%', sqlerrm;
end
$$;
rollback;
