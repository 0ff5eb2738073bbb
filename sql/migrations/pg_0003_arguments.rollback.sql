-- Removes the rules for arguments.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;
drop function kompanion._check_vector(text, vector, integer, text, integer);
drop function kompanion._check_content(text, text);
drop function kompanion._raise_no_item(text, text);
drop function kompanion._check_metadata(jsonb, text);
drop function kompanion._expiry(timestamptz, interval, text);
drop function kompanion._check_moment(text, timestamptz);
drop function kompanion._check_name(text, text);
drop function kompanion._normalize_tags(text[], text);
