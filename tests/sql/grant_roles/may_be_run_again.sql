-- Granting twice is granting once.
begin;
do $$
begin
    assert kompanion.grant_roles() = kompanion.grant_roles();
    assert has_function_privilege('kompanion_reader', 'kompanion.stats(text)', 'execute');
end
$$;
rollback;
