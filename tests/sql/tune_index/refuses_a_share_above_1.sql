-- Matches are at most all rows.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.tune_index(share => 1.5);
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like '%share%', sqlerrm;
end
$$;
rollback;
