-- A page continues from a cursor.
begin;
do $$
begin
    perform kompanion.export_items('*', after => 'x');
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'after:%', sqlerrm;
end
$$;
rollback;
