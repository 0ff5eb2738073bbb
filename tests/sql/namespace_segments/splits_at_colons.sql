-- A path is cut at its colons.
begin;
do $$
begin
    assert kompanion.namespace_segments('acme:ann:daily') = array['acme', 'ann', 'daily'];
end
$$;
rollback;
