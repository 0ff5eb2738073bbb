"""Hot metadata keys: an index for one of them, as in pg_0017_metadata_keys."""

from __future__ import annotations

from hashlib import sha256

from ...errors import BadArgument
from ...requests import Row
from ..filters import bad_filter, quoted, typed_value
from ..registry import function
from ..session import Session
from .checks import check_name
from .checks import quoted as quoted_or_null


@function("write")
def index_metadata_key(session: Session, key: str, type: str = "text", concurrently: bool = False) -> list[Row]:
    """Build an index for one metadata key; the statement that was run.

    ``concurrently`` changes nothing: readers never wait here, and writers wait for each other anyway.
    """
    check_name("key", key)
    if type not in ("text", "number"):
        raise BadArgument(f"type: {quoted_or_null(type)} is unknown", hint="Use text or number.")
    if key.startswith("$") or "" in key.split("."):
        raise bad_filter(f"key {quoted(key)} is no name of a field")
    name = f"memory_items_metadata_{type}_{sha256(key.encode()).hexdigest()[:12]}_ix"
    value = typed_value(key, type, row="")
    # With liveness in it, what a filter matches is known from the index alone.
    statement = (
        f"create index if not exists {name} on memory_items (namespace_no, {value}, deleted_at, expires_at) "
        f"where {value} is not null"
    )
    session.run(statement)
    session.run(
        "update settings set value = jsonb_patch(value, json_object(?, ?)), updated_at = ? "
        "where name = 'indexed_metadata'",
        (key, type, session.now),
    )
    return [{"index_metadata_key": statement}]
