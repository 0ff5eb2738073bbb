"""Embedding models, as in pg_0011_models and pg_0012_model_switch: registered, switched online, retired."""

from __future__ import annotations

from ...arguments import MAX_DIM
from ...errors import BadArgument, ModelConflict
from ...requests import Row
from .. import values
from ..models import find_model
from ..registry import function, one_value
from ..session import Session
from .checks import check_name, quoted

_METRICS = ("cosine", "l2", "inner_product")

_LACKING = """
    from memory_chunks c
    where not exists (select 1 from embeddings e where e.chunk_id = c.chunk_id and e.model_id = :model)
"""


@function("write")
def register_model(
    session: Session, name: str, dim: int, metric: str = "cosine", make_default: bool = False
) -> list[Row]:
    """Make a model known and queue every chunk for it; the first one becomes the default. Again it changes nothing."""
    _check_model(name, dim, metric)
    found = session.one("select model_id, dim, metric, retired_at from embedding_models where name = ?", (name,))
    if found is None:
        session.run(
            "insert into embedding_models (name, dim, metric, created_at) values (?, ?, ?, ?)",
            (name, dim, metric, session.now),
        )
        model_id, fresh = session.conn.last_insert_rowid(), True
    else:
        model_id, fresh = found[0], found[3] is not None
        if found[1:3] != (dim, metric):
            raise ModelConflict(
                f"{_model(name)} is registered with another dimension or metric",
                detail=f"Registered: dim {found[1]}, metric {found[2]}.",
                hint="Give the new one a name of its own, such as a version; both live side by side.",
            )
        if fresh:
            session.run("update embedding_models set retired_at = null where model_id = ?", (model_id,))
    queued = _enqueue(session, model_id) if fresh else 0
    default = session.value("select 1 from embedding_models where is_default = 1") is not None
    if make_default or not default:
        # The first default may be chosen before its vectors are there; a switch must not shorten answers.
        set_default_model(session, name, require_complete=default)
    chosen = session.value("select is_default from embedding_models where model_id = ?", (model_id,))
    return [{"model_id": model_id, "model": name, "is_default": bool(chosen), "queued": queued}]


@function("write")
def enqueue_missing(session: Session, model: str | None = None) -> list[Row]:
    """Queue every chunk that has no vector of the model; how many were added."""
    return one_value("enqueue_missing", _enqueue(session, find_model(session, model).model_id))


@function("write")
def set_default_model(session: Session, name: str | None, require_complete: bool = True) -> list[Row]:
    """Switch the model that is meant when none is named; the former one. Refused while live chunks lack its vectors."""
    model = find_model(session, name or "")
    lacking = _lacking_live(session, model.model_id) if require_complete else 0
    if lacking:
        raise ModelConflict(
            f"{_model(model.name)} still lacks the vectors of {lacking} live chunks",
            hint="Embed what pending_embeddings(model) hands out first, or call set_default_model with "
            "require_complete false.",
        )
    former = session.value(
        "update embedding_models set is_default = 0 where is_default = 1 and model_id <> ? returning name",
        (model.model_id,),
    )
    session.run("update embedding_models set is_default = 1 where model_id = ? and is_default = 0", (model.model_id,))
    return one_value("set_default_model", former)


@function("write")
def retire_model(session: Session, name: str | None, delete_vectors: bool = False) -> list[Row]:
    """Take a model out of use; how many vectors were removed, if they were to be. Registering it again revives it."""
    found = session.one("select model_id, is_default from embedding_models where name = ?", (name,))
    model_id, default = found or (find_model(session, name or "").model_id, 0)
    if default:
        raise ModelConflict(
            f"{_model(name or '')} is the default", hint="Switch to another one first: set_default_model(name)."
        )
    session.run(
        "update embedding_models set retired_at = ? where model_id = ? and retired_at is null", (session.now, model_id)
    )
    session.run("delete from embedding_queue where model_id = ?", (model_id,))
    return one_value("retire_model", _delete_vectors(session, model_id) if delete_vectors else 0)


@function("read")
def list_models(session: Session) -> list[Row]:
    """Every model, in the order they were registered, its indexes taken together, and how many chunks wait for it."""
    rows = session.rows(
        """
        select m.name as model, m.dim, m.metric, m.is_default, iif(x.rows is null, 'none', 'ivfpq') as index_kind,
               x.lists as index_lists, x.rows as index_rows,
               (select count(*) from embedding_queue q where q.model_id = m.model_id) as queued,
               m.created_at, m.retired_at
        from embedding_models m
        left join (select s.model_id, sum(a.params ->> 'lists') as lists, sum(s.rows) as rows
                   from vec_segments s join vec_ann a on a.segment_no = s.segment_no
                   group by s.model_id) x on x.model_id = m.model_id
        order by m.model_id
        """
    )
    for row in rows:
        row["is_default"] = bool(row["is_default"])
        row["created_at"], row["retired_at"] = values.to_time(row["created_at"]), values.to_time(row["retired_at"])
    return rows


def _check_model(name: str | None, dim: int | None, metric: str | None) -> None:
    check_name("name", name)
    if dim is None or not 1 <= dim <= MAX_DIM:
        raise BadArgument(
            f"dim: {'NULL' if dim is None else dim} is not between 1 and {MAX_DIM}",
            hint="Give the number of elements of the model's vectors.",
        )
    if metric not in _METRICS:
        raise BadArgument(f"metric: {quoted(metric)} is unknown", hint="Use cosine, l2 or inner_product.")


def _enqueue(session: Session, model_id: int) -> int:
    return session.run(
        f"""
        insert or ignore into embedding_queue (chunk_id, model_id, created_at)
        select c.chunk_id, :model, :now {_LACKING}
        """,
        {"model": model_id, "now": session.now},
    )


def _lacking_live(session: Session, model_id: int) -> int:
    """How many live chunks have no vector of the model."""
    found: int = session.value(
        f"""
        select count(*) {_LACKING}
          and exists (select 1 from memory_items i join namespaces n on n.namespace_no = i.namespace_no
                      where i.item_no = c.item_no and n.deleted_at is null and i.deleted_at is null
                        and (i.expires_at is null or i.expires_at > :now))
        """,
        {"model": model_id, "now": session.now},
    )
    return found


def _delete_vectors(session: Session, model_id: int) -> int:
    """Remove the vectors of a model; its files no longer count, and go when no reader needs them any more."""
    removed = session.run("delete from embeddings where model_id = ?", (model_id,))
    session.run("delete from vec_log where model_id = ?", (model_id,))
    session.run("delete from vec_segments where model_id = ?", (model_id,))
    return removed


def _model(name: str) -> str:
    return "model '" + name.replace("'", "''") + "'"
