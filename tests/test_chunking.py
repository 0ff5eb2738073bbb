"""chunk_text: exact offsets, nothing lost, nothing too long."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from semantic_text_splitter import TextSplitter

from kompanion_db import chunking
from kompanion_db.chunking import Chunk, chunk_text
from kompanion_db.errors import BadArgument

# White space of all kinds, what joins characters, several bytes or code points to a character, and words.
SPACES = " \n\t\0\x1c\x85\u3000\u200b\u200d"
pieces = st.sampled_from(
    [*SPACES, "\n\n", "\r\n", "a", "e\u0301", "👨‍👩‍👧", "🇩🇪", "漢字", "word", "long" * 20, "Sentence one. "]
)
contents = st.one_of(st.text(), st.lists(pieces, max_size=60).map("".join))
# A busy machine makes an example slow, not wrong.
patient = settings(deadline=None)
sizes = st.integers(1, 40).flatmap(lambda most: st.tuples(st.just(most), st.integers(0, most - 1)))


def assert_laws(content: str, most: int, overlap: int) -> None:
    chunks = chunk_text(content, most, overlap)
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    covered = bytearray(len(content))
    for chunk in chunks:
        assert content[chunk.start : chunk.end] == chunk.text
        assert 1 <= len(chunk.text) <= most
        assert not chunk.text.isspace()
        covered[chunk.start : chunk.end] = b"\1" * len(chunk.text)
    lost = [c for c, seen in zip(content, covered, strict=True) if not seen and not c.isspace()]
    assert lost == []
    for left, right in pairwise(chunks):
        assert left.start < right.start
        assert left.end < right.end
        assert left.end - right.start <= overlap


@patient
@given(contents, sizes)
def test_chunks_are_exact_ordered_short_enough_and_lose_nothing(content, size):
    assert_laws(content, *size)


# Longer than the window of 2048 characters, so several windows meet.
@patient
@given(st.lists(pieces, min_size=5, max_size=40), st.integers(40, 120), sizes)
def test_the_laws_hold_for_long_contents(parts, times, size):
    assert_laws("".join(parts) * times, *size)


@patient
@given(contents.filter(lambda content: content.strip()), st.integers(0, 5))
def test_a_short_content_is_one_chunk_and_stands_unchanged(content, room):
    most = len(content) + room
    assert chunk_text(content, most) == [Chunk(0, content, 0, len(content))]


@pytest.mark.parametrize("content", ["", " ", "\n" * 5000, " \t\r\n\u3000\x1c" * 1000])
def test_a_content_of_white_space_has_no_chunks(content):
    assert chunk_text(content) == []


def test_offsets_count_characters_and_not_bytes():
    content = "Grüße aus Köln. 😀😀 " * 100
    chunk = chunk_text(content, 100)[5]
    assert content[chunk.start : chunk.end] == chunk.text
    assert chunk.start > 400


def test_chunks_end_at_paragraphs_where_they_can():
    paragraphs = [f"Paragraph {i} has two sentences. This is the other one." for i in range(50)]
    chunks = chunk_text("\n\n".join(paragraphs), 60)
    assert [chunk.text for chunk in chunks] == paragraphs


def test_chunks_end_at_sentences_where_paragraphs_are_too_long():
    chunks = chunk_text("The sun is up. " * 100, 50)
    assert {chunk.text for chunk in chunks[:-1]} == {"The sun is up. The sun is up. The sun is up."}


def test_chunks_overlap_when_asked_to():
    chunks = chunk_text("The sun is up. " * 100, 50, overlap=20)
    assert all(right.start < left.end for left, right in pairwise(chunks))


def test_white_space_beyond_a_window_is_skipped():
    content = "first" + "\n" * 10_000 + "second"
    assert [chunk.text for chunk in chunk_text(content, 10)] == ["first", "second"]


@pytest.mark.parametrize("content", ["x" * 1_000_000, "かな" * 50_000, "word " * 100_000])
def test_content_without_any_sentence_border_is_never_shown_whole_to_the_splitter(content, monkeypatch):
    """Whose time grows with the square of it."""
    shown = []

    class Watched:
        def __init__(self, *args, **options):
            self.splitter = TextSplitter(*args, **options)

        def chunk_indices(self, text):
            shown.append(len(text))
            return self.splitter.chunk_indices(text)

    monkeypatch.setattr(chunking, "TextSplitter", Watched)
    chunks = chunk_text(content)
    assert max(shown) < 10_000
    assert sum(shown) < 1.5 * len(content)
    assert sum(len(chunk.text) for chunk in chunks) >= len(content) - 2 * len(chunks)


@pytest.mark.parametrize(("most", "overlap"), [(0, 0), (-1, 0), (10, 10), (10, -1), (10, 11)])
def test_sizes_out_of_range_are_refused(most, overlap):
    with pytest.raises(BadArgument, match=r"max_characters"):
        chunk_text("some content", most, overlap)


def test_a_lone_surrogate_is_refused_with_its_place():
    with pytest.raises(BadArgument, match="character 4"):
        chunk_text("some\ud800thing")


def test_a_chunk_cannot_be_changed():
    chunk = chunk_text("hello")[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        chunk.text = "bye"
