"""Cutting long content into chunks, the pieces that get a vector each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from semantic_text_splitter import TextSplitter

from kompanion_db.errors import BadArgument


@dataclass(frozen=True, slots=True)
class Chunk:
    """One piece of a content: ``content[start:end] == text``.

    ``ordinal`` counts the chunks of a content from 0. ``start`` and ``end`` are offsets in characters
    (Unicode code points, as Python and PostgreSQL count them), ``end`` exclusive.
    """

    ordinal: int
    text: str
    start: int
    end: int


def chunk_text(content: str, max_characters: int = 1200, overlap: int = 0) -> list[Chunk]:
    """``content`` cut at the borders of paragraphs, else lines, sentences, words, characters.

    No chunk is longer than ``max_characters``; they are in order, and every character that is not
    white space is in one. Neighbours share up to ``overlap`` characters, as far as the borders allow,
    and no character otherwise. White space at the ends of a chunk is left out, but content of at most
    ``max_characters`` is one chunk as it stands. Content without anything but white space has none.

    Raises ``BadArgument`` unless ``0 <= overlap < max_characters``, or when ``content`` holds a lone
    surrogate. The borders are those of the crate text-splitter (https://docs.rs/text-splitter).
    """
    if max_characters < 1:
        raise BadArgument("max_characters must be at least 1.", detail=f"Got {max_characters}.")
    if not 0 <= overlap < max_characters:
        raise BadArgument(
            "overlap must be at least 0 and less than max_characters.",
            detail=f"Got overlap {overlap} and max_characters {max_characters}.",
        )
    try:
        content.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise BadArgument(
            "content is not valid Unicode text.",
            detail=f"There is a lone surrogate at character {exc.start}.",
            hint="Decode the source with errors='replace'.",
        ) from None
    if not content or content.isspace():
        return []
    if len(content) <= max_characters:
        return [Chunk(0, content, 0, len(content))]
    pieces = _split(content, max_characters, overlap)
    # The splitter trims the white space of Unicode, Python knows four control characters more.
    kept = ((start, text) for start, text in pieces if not text.isspace())
    return [Chunk(i, text, start, start + len(text)) for i, (start, text) in enumerate(kept)]


def _split(content: str, max_characters: int, overlap: int) -> Iterator[tuple[int, str]]:
    """Offsets and texts of the chunks, made window by window.

    The splitter's time grows with the square of the length of a stretch without a sentence border:
    14 s for 400,000 kana, 34 s for 2 million letters. So it sees a window at a time, and the last chunk
    of a window is made again at the start of the next, which leaves no mark of the window's end.
    """
    splitter = TextSplitter(max_characters, overlap=overlap, trim=True)
    window = max(8 * max_characters, 2048)
    begin = reach = 0
    while begin < len(content):
        end = begin + window
        pieces = splitter.chunk_indices(content[begin:end])
        # A lone chunk at the very start has only white space behind it, so it is whole.
        remake = end < len(content) and bool(pieces) and pieces[-1][0] > 0
        for offset, text in pieces[:-1] if remake else pieces:
            # With an overlap, a remade chunk can shrink to what the one before it holds already.
            if begin + offset + len(text) > reach:
                reach = begin + offset + len(text)
                yield begin + offset, text
        begin = begin + pieces[-1][0] if remake else end
