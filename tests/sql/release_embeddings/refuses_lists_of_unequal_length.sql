-- Each chunk is named by both.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.release_embeddings(array[gen_random_uuid(), gen_random_uuid()], '{1}', 'small');
    assert false, 'it was not refused';
exception when sqlstate 'KM007' then
    assert sqlerrm like '%differ in length', sqlerrm;
end
$$;
rollback;
