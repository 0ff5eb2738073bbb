-- A lease that is over already would hand a chunk out twice.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.pending_embeddings(lease => '-1 minute');
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'lease:%', sqlerrm;
end
$$;
rollback;
