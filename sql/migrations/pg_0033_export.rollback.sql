-- Removes the export.
drop function kompanion.export_items(text, integer, text);
drop function kompanion.export_registry(text);
drop function kompanion._scope_ids_kept(text);
