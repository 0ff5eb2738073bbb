-- Naming a user again changes what is given and keeps the rest.
begin;
do $$
begin
    assert kompanion.ensure_user('acme', 'ann', 'Ann', '{"a": 1}') = kompanion.ensure_user('acme', 'ann', metadata => '{"b": 2}');
    assert (select (display_name, metadata) = ('Ann', jsonb '{"b": 2}') from kompanion.users);
end
$$;
rollback;
