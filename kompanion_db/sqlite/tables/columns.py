"""The columns of the functions that answer with rows, which SQLite has to know before the first call."""

from __future__ import annotations

_WRITTEN = "item_id revision status"
_STEPS = "step statement reason"

_COLUMNS = {
    "calibrate": "share knob recall milliseconds runs",
    "delete_item": _WRITTEN,
    "embedded_chunks": "ord content",
    "ensure_index": _STEPS,
    "export_items": "document cursor",
    "export_marks": "cursor revision updated_at",
    "export_registry": "document",
    "get_chunks": "chunk_id ordinal content start_offset end_offset chunk_revision vector",
    "get_item": "namespace_id item_id content metadata tags thread user_key actor revision content_revision created_at "
    "updated_at expires_at",
    "import_documents": "registry items skipped",
    "index_advice": "model_name advice statement",
    "index_statements": _STEPS,
    "item_as_of": "item_id revision content metadata tags thread user_key actor updated_at superseded_at expires_at",
    "item_history": "item_id revision content metadata tags thread user_key actor updated_at superseded_at expires_at "
    "deleted_at",
    "list_items": "namespace namespace_id item_id key content metadata tags item_thread user_key actor revision "
    "content_revision created_at updated_at expires_at cursor",
    "list_models": "model dim metric is_default index_kind index_lists index_rows queued created_at retired_at",
    "list_namespaces": "namespace namespace_id created_at deleted_at",
    "list_threads": "namespace thread title metadata created_at closed_at cursor",
    "measure_recall": "asked recall low high milliseconds by_index",
    "pending_embeddings": "namespace namespace_id chunk_id chunk_revision content",
    "purge": "items revisions namespaces",
    "put_chunks": "chunk_id ordinal chunk_revision embedded",
    "put_embeddings": "namespace_id chunk_id status",
    "register_model": "model_id model is_default queued",
    "restore_item": _WRITTEN,
    "revert_item": "item_id revision_now status",
    "search": "rank namespace namespace_id item_id key chunk_id ordinal chunk metadata tags item_thread revision "
    "distance score created_at updated_at expires_at",
    "stats": "namespace model items live expired deleted revisions chunks embedded unembedded bytes",
    "touch_item": "item_id revision status expires_at_now",
    "tune_index": "kind lists knob recall milliseconds build_seconds chosen",
    "upsert_item": _WRITTEN,
    "upsert_items": "ord item_id revision status",
}


def columns_of(name: str) -> tuple[str, ...]:
    """The columns of a function; one that returns a value has one, of its own name."""
    return tuple(_COLUMNS.get(name, name).split())
