-- Removes the export.
drop function kompanion.export_items(text, integer, text);
drop function kompanion.export_marks(text, integer, text);
drop function kompanion._export_page(text, integer, text);
drop function kompanion._cursor_of(text);
drop function kompanion.export_registry(text);
drop function kompanion._export_format();
drop function kompanion._scope_ids_kept(text, uuid, integer);
