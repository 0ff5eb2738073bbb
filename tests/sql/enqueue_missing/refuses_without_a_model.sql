-- Without a model there is nothing to wait for.
begin;
do $$
begin
    perform kompanion.enqueue_missing();
    assert false, 'it was not refused';
exception when sqlstate 'KM005' then
    assert sqlerrm like 'model:%', sqlerrm;
end
$$;
rollback;
