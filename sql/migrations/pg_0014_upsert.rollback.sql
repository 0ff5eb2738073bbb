-- Removes the writing of items.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;
drop function kompanion.upsert_item(text, text, text, jsonb, text[], text, text, timestamptz, interval, integer, text,
    timestamptz, text[], integer[], integer[], vector[], text);
drop function kompanion._put_item_vectors(uuid, uuid, vector[], integer);
drop function kompanion._lock_item(uuid, text, text, integer);
