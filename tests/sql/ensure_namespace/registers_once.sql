-- A namespace is registered on first use, with the id of its path.
begin;
do $$
begin
    assert kompanion.ensure_namespace('acme:ann') = kompanion.namespace_id('acme:ann');
    perform kompanion.ensure_namespace('acme:ann');
    assert (select count(*) from kompanion.namespaces) = 1;
end
$$;
rollback;
