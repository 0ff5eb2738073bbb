-- Removes the functions of namespaces.
drop function kompanion.restore_namespace(text);
drop function kompanion.delete_namespace(text);
drop function kompanion.list_namespaces(text, boolean, integer, text);
drop function kompanion.ensure_namespace(text);
drop function kompanion._ids_above(text[]);
drop function kompanion._scope_ids(text);
drop function kompanion._scope_end(text[]);
