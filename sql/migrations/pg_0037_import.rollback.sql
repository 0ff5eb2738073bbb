-- Removes the import.
drop function kompanion.import_documents(jsonb);
drop function kompanion._check_documents(jsonb);
drop function kompanion._import_registry(jsonb);
