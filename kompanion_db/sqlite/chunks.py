"""The chunks of an item: checked, and replaced so that a text that stays keeps its chunk, and so its vectors."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence

from ..errors import BadArgument
from .session import Session

_FAR = 1 << 40
"""Added to places that change, for a moment: a place is taken once."""


def is_visible(content: str) -> bool:
    """Whether there is a character to embed: content of white space alone has no chunk.

    As in the trigger memory_items_900_after_update, which cuts what nobody else cut.
    """
    return bool(content) and not content.isspace()


def check_chunks(
    content: str,
    texts: Sequence[str | None],
    starts: Sequence[int | None] | None,
    ends: Sequence[int | None] | None,
    place: str = "",
) -> None:
    """Chunks are not empty, their offsets lie in the content; BadArgument otherwise, ``place`` before its message."""
    if starts is None or ends is None or not len(texts) == len(starts) == len(ends):
        raise BadArgument(
            f"{place}chunks: {len(texts)} texts, {len(starts or ())} starts and {len(ends or ())} ends",
            hint="Give one start and one end for each text, in characters of the content, from 0.",
        )
    length = len(content)
    for text, start, end in zip(texts, starts, ends, strict=True):
        if not text or start is None or end is None or not 0 <= start <= end <= length:
            raise BadArgument(
                f"{place}chunks: a text is empty, or its offsets lie outside the content",
                hint=f"Offsets are characters of the content, 0 <= start <= end <= {length}.",
            )


def insert_chunks(
    session: Session,
    item_no: int,
    namespace_no: int,
    content_revision: int,
    chunks: Sequence[tuple[int, str, int, int]],
) -> range:
    """Add chunks (place, text, start, end) to an item; their ids. Each waits for a vector of every model in use."""
    if not chunks:
        return range(0)
    session.many(
        """
        insert into memory_chunks (namespace_no, item_no, ordinal, content, start_offset, end_offset, content_revision,
                                   created_at)
        values (?, ?, ?, ?, ?, ?, ?, ?)
        """,
        [(namespace_no, item_no, *chunk, content_revision, session.now) for chunk in chunks],
    )
    # The one writer of the file got them one after the other.
    last = session.conn.last_insert_rowid()
    return range(last - len(chunks) + 1, last + 1)


def replace_chunks(
    session: Session,
    item_no: int,
    namespace_no: int,
    content_revision: int,
    texts: Sequence[str],
    starts: Sequence[int],
    ends: Sequence[int],
) -> None:
    """Make the chunks of an item exactly these.

    A chunk whose text stays keeps its id, its revision and its vectors: old and new are matched by text, the first
    occurrence to the first, the second to the second. The new ones wait for vectors.
    """
    present: defaultdict[str, deque[list[int]]] = defaultdict(deque)
    for chunk_id, text, *places in session.all(
        "select chunk_id, content, ordinal, start_offset, end_offset, content_revision from memory_chunks "
        "where item_no = ? order by ordinal",
        (item_no,),
    ):
        present[text].append([chunk_id, *places])
    added, moved, kept = [], [], []
    for ordinal, (text, start, end) in enumerate(zip(texts, starts, ends, strict=True)):
        if not present[text]:
            added.append((ordinal, text, start, end))
            continue
        chunk_id, *before = present[text].popleft()
        if before != [ordinal, start, end, content_revision]:
            kept.append((ordinal, start, end, content_revision, chunk_id))
        if before[0] != ordinal:
            moved.append((_FAR, chunk_id))
    dropped = [(chunk_id,) for left in present.values() for chunk_id, *_ in left]
    for sql, rows in (
        ("delete from memory_chunks where chunk_id = ?", dropped),
        ("update memory_chunks set ordinal = ordinal + ? where chunk_id = ?", moved),
        (
            "update memory_chunks set ordinal = ?, start_offset = ?, end_offset = ?, content_revision = ? "
            "where chunk_id = ?",
            kept,
        ),
    ):
        if rows:
            session.many(sql, rows)
    insert_chunks(session, item_no, namespace_no, content_revision, added)


def enqueue_item(session: Session, item_no: int) -> None:
    """Queue the chunks of an item for the models in use that have no vector of them."""
    session.run(
        """
        insert or ignore into embedding_queue (chunk_id, model_id, created_at)
        select c.chunk_id, m.model_id, ?
        from memory_chunks c
        cross join embedding_models m on m.retired_at is null
        where c.item_no = ?
          and not exists (select 1 from embeddings e where e.chunk_id = c.chunk_id and e.model_id = m.model_id)
        """,
        (session.now, item_no),
    )
