-- Claims are of a model.
begin;
do $$
begin
    perform kompanion.release_embeddings('{}', '{}', 'nobody');
    assert false, 'it was not refused';
exception when sqlstate 'KM005' then
    assert sqlerrm like 'model:%', sqlerrm;
end
$$;
rollback;
