-- A scope is a run of segments, never a run of letters.
begin;
do $$
begin
    perform kompanion.upsert_item(n, 'k', 'c') from unnest(array['acme', 'acme:x', 'acme2', 'a_me', 'ACME']) n;
    assert (select array_agg(namespace order by namespace collate "C") from kompanion.list_items('acme')) = array['acme', 'acme:x'];
end
$$;
rollback;
