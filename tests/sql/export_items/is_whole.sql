-- An exported item carries its revisions, chunks and vectors.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.upsert_item('acme:ann', 'tea', 'Ann drinks green tea', '{"n": 1}', array['taste'], vectors => array['[1,0,0]']::vector[]);
    perform kompanion.upsert_item('acme:bob', 'milk', 'Bob drinks milk', '{"n": 2}', vectors => array['[0,1,0]']::vector[]);
    assert (select document #>> '{chunks,0,vectors,0,vector}' from kompanion.export_items('acme:ann')) = '[1,0,0]';
end
$$;
rollback;
