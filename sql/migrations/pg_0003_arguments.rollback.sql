-- Removes the rules for arguments.
drop function kompanion._check_content(text, text);
drop function kompanion._raise_no_item(text, text);
drop function kompanion._check_metadata(jsonb, text);
drop function kompanion._expiry(timestamptz, interval, text);
drop function kompanion._check_moment(text, timestamptz);
drop function kompanion._check_name(text, text);
drop function kompanion._normalize_tags(text[], text);
