-- A remembered choice is a kind and no piece of a statement, since whoever owns the tables runs what is built of it.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    begin
        update kompanion.embedding_models set index_choice = '{"rows": 1, "kind": "hnsw ((vector::vector(3)) vector_l2_ops); drop table users; --"}';
        assert false, 'it was taken';
    exception when check_violation then null;
    end;
    alter table kompanion.embedding_models drop constraint embedding_models_choice_ck;
    update kompanion.embedding_models set index_choice = '{"rows": 1, "kind": "a; drop table users; --"}';
    assert (select s.statement from kompanion.index_statements('small') s where s.statement like 'create%') like '% using "a; drop table users; --" ((%';
end
$$;
rollback;
