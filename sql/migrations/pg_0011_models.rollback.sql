-- Removes the registration of models.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;
drop function kompanion._index_definition(text, integer, integer, text, boolean);
drop function kompanion._hold_models(integer);
drop function kompanion._vector_index(integer, text);
drop function kompanion.register_model(text, integer, text, boolean);
drop function kompanion._needs_all(text);
drop function kompanion._check_queries(vector[], integer, text);
drop function kompanion._model(text);
