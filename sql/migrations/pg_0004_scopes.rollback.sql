-- Removes the registry of scopes.
drop function kompanion._check_isolation(text);
drop function kompanion.set_setting(text, jsonb);
drop function kompanion.setting(text);
drop table kompanion.threads;
drop table kompanion.users;
drop table kompanion.namespaces;
drop function kompanion._refuse_path(text);
drop table kompanion.settings;
