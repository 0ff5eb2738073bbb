-- Removes the functions of chunks and vectors.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;
drop function kompanion.embedded_chunks(text[], text[], text);
drop function kompanion.pending_embeddings(text, integer, text, interval);
drop function kompanion.put_embeddings(uuid[], bigint[], integer[], vector[], text);
drop function kompanion.put_chunks(text, text, text[], integer[], integer[], integer);
drop function kompanion._check_chunks(text, text[], integer[], integer[], text);
