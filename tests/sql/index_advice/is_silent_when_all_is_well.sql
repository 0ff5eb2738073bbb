-- No advice means all is well.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste'], vectors => array['[1,0,0]']::vector[]);
    perform kompanion.upsert_item('acme:bob', 'milk', 'Bob drinks milk', '{"n": 2}', vectors => array['[0,1,0]']::vector[]);
    assert not exists (select 1 from kompanion.index_advice() where statement not like 'vacuum%');  -- other scripts may have left dead rows
    perform kompanion.set_setting('index_min_rows', '1');
    assert (select advice from kompanion.index_advice() where statement not like 'vacuum%') like '%no vector index%';
end
$$;
rollback;
