-- The extension and the roles stay: other schemas and databases may use them.
drop function kompanion._install_path();
comment on schema kompanion is null;
