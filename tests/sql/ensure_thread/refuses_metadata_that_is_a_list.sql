-- Metadata is a JSON object.
begin;
do $$
begin
    perform kompanion.ensure_thread('acme', 't', metadata => '[]');
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'metadata:%', sqlerrm;
end
$$;
rollback;
