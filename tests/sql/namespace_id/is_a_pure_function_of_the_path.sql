-- The id of a namespace is the first 16 bytes of SHA-256 of its path.
begin;
do $$
begin
    assert kompanion.namespace_id('acme') = encode(substr(sha256('acme'), 1, 16), 'hex')::uuid;
    assert kompanion.namespace_id('acme') <> kompanion.namespace_id('Acme');
end
$$;
rollback;
