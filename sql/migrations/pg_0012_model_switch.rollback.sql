-- Removes the switching of models.
drop function kompanion.list_models();
drop function kompanion.retire_model(text, boolean);
drop function kompanion.set_default_model(text, boolean);
drop function kompanion._make_default(integer);
drop function kompanion.release_embeddings(uuid[], bigint[], text, text);
drop function kompanion.enqueue_missing(text);
