-- Without a key the id of the item is its key.
begin;
do $$
declare
    v uuid;
begin
    v := (select item_id from kompanion.upsert_item('acme', null, 'c'));
    assert (select key from kompanion.live_items) = v::text;
end
$$;
rollback;
