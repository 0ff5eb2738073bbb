"""Where vectors enter: each is a new version, under the next number of the log, in the transaction of its row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..sidecar.bulk import BULK_ROWS, append_file
from .models import Model
from .session import Session


def store_vectors(session: Session, model: Model, chunk_ids: Sequence[int], vectors: NDArray[np.float32]) -> None:
    """Give each chunk its vector of the model in place of the one it has; ``vectors`` has shape (n, dim), float32."""
    if not len(chunk_ids):
        return
    first = append_vectors(session, model.model_id, vectors)
    session.many(
        "delete from embeddings where chunk_id = ? and model_id = ?", [(no, model.model_id) for no in chunk_ids]
    )
    session.many(
        """
        insert into embeddings (vec_id, namespace_no, chunk_id, model_id, item_no, thread_no, expires_at, deleted_at,
                                created_at)
        select ?, c.namespace_no, c.chunk_id, ?, c.item_no, i.thread_no, i.expires_at, i.deleted_at, ?
        from memory_chunks c join memory_items i on i.item_no = c.item_no
        where c.chunk_id = ?
        """,
        [(first + n, model.model_id, session.now, no) for n, no in enumerate(chunk_ids)],
    )


class Carried(NamedTuple):
    """What the row of a vector carries along from its item, when that is not deleted."""

    namespace_no: int
    item_no: int
    thread_no: int | None
    expires_at: int | None


def store_first_vectors(
    session: Session, model: Model, carried: Carried, chunk_ids: Sequence[int], vectors: NDArray[np.float32]
) -> None:
    """As ``store_vectors``, for chunks of one item that have no vector of the model; a third of the work."""
    first = append_vectors(session, model.model_id, vectors)
    session.many(
        """
        insert into embeddings (vec_id, chunk_id, model_id, created_at, namespace_no, item_no, thread_no, expires_at)
        values (?, ?, ?, ?, ?, ?, ?, ?)
        """,
        [(first + n, no, model.model_id, session.now, *carried) for n, no in enumerate(chunk_ids)],
    )


def append_vectors(session: Session, model_id: int, vectors: NDArray[np.float32]) -> int:
    """Append vectors of shape (n, dim), float32, n at least 1; the number of the first, the rest follow.

    They go to the log, many at once to a file of their own, which spares writing them twice.
    """
    data = np.ascontiguousarray(vectors, dtype="<f4")
    if len(data) >= BULK_ROWS:
        return append_file(session.conn, session.database.place.folder, model_id, data)
    session.many("insert into vec_log (model_id, vector) values (?, ?)", [(model_id, vector.data) for vector in data])
    return session.conn.last_insert_rowid() - len(data) + 1
