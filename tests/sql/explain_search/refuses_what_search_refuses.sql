-- Explaining checks its arguments as searching does.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.explain_search('*', '[1,0,0]', target_recall => 2);
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'target_recall:%', sqlerrm;
end
$$;
rollback;
