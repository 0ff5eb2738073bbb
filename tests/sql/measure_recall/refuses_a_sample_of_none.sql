-- Recall is measured with at least one query.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.measure_recall(sample => 0);
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'sample:%', sqlerrm;
end
$$;
rollback;
