-- A mark is the cursor of an exported item, with its revision, in the same order and pages.
begin;
do $$
begin
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea');
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks black tea');
    perform kompanion.upsert_item('acme:bob', 'milk', 'Bob drinks milk');
    assert array(select cursor from kompanion.export_marks()) = array(select cursor from kompanion.export_items());
    assert (select max(revision) from kompanion.export_marks('acme:ann')) = 2;
    assert (select count(*) from kompanion.export_marks('*', 10, (select cursor from kompanion.export_marks('*', 1)))) = 1;
end
$$;
rollback;
