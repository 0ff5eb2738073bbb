-- Without a new index that is valid nothing is swapped, and no rows are taken note of.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    begin
        perform kompanion.swap_index('small', 5);
        assert false, 'it was not refused';
    exception when object_not_in_prerequisite_state then
        assert sqlerrm like 'model: the new index of ''small'' is not there or invalid%', sqlerrm;
    end;
    assert (select index_rows from kompanion.list_models()) is null;
end
$$;
rollback;
