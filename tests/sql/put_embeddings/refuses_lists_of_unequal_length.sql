-- There is one of each for every chunk.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.put_embeddings('{}', array[1], '{}', '{}');
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like 'namespace_ids%', sqlerrm;
end
$$;
rollback;
