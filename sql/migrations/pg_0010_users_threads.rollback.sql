-- Removes the functions of users and threads.
drop function kompanion.list_threads(text, integer, text);
drop function kompanion.close_thread(text, text);
drop function kompanion.ensure_thread(text, text, text, jsonb, boolean);
drop function kompanion.ensure_user(text, text, text, jsonb);
drop function kompanion._thread_id(uuid, text);
drop function kompanion._user_id(uuid, text);
