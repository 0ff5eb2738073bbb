"""HashEmbedder and the checks that all embedders share."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kompanion_db.embedders import Embedder, HashEmbedder, OpenAIEmbedder, check_texts, check_vectors, hashing
from kompanion_db.errors import BadArgument, EmbedderError

SENTENCE = "The cat's naïve owner walked, walks & is walking to 東京 ❤️ in 2024."

embedder = HashEmbedder()
texts = st.text(min_size=1).filter(lambda text: not text.isspace())
# A busy machine makes an example slow, not wrong.
patient = settings(deadline=None)
words = st.text("abcdefghijklmnopqrstuvwxyz", min_size=4, max_size=10)


def similarity(left: str, right: str) -> float:
    return float(embedder.embed_query(left) @ embedder.embed_query(right))


def checksum(vector: np.ndarray) -> str:
    # Rounded: the last bit of a logarithm may differ between C libraries.
    return hashlib.sha256(np.round(vector * 10_000).astype("<i4").tobytes()).hexdigest()[:16]


@patient
@given(texts, st.sampled_from([1, 2, 3, 8, 384, 1536]))
def test_every_text_has_a_finite_float32_vector_of_length_one(text, dim):
    vector = HashEmbedder(dim).embed_query(text)
    assert vector.shape == (dim,)
    assert vector.dtype == np.float32
    assert np.isfinite(vector).all()
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)


@patient
@given(texts)
def test_equal_texts_have_equal_vectors_as_document_and_as_query(text):
    again = HashEmbedder().embed_documents([text, text])
    np.testing.assert_array_equal(again[0], embedder.embed_query(text))
    np.testing.assert_array_equal(again[1], again[0])


@patient
@given(st.lists(texts, max_size=8))
def test_a_vector_does_not_depend_on_the_other_texts_of_its_batch(batch):
    together = embedder.embed_documents(batch)
    assert together.shape == (len(batch), 384)
    for text, vector in zip(batch, together, strict=True):
        np.testing.assert_array_equal(vector, embedder.embed_query(text))


def test_a_batch_longer_than_a_slab_keeps_the_order():
    batch = [f"note number {i}" for i in range(1000)]
    together = embedder.embed_documents(batch)
    np.testing.assert_array_equal(together[777], embedder.embed_query("note number 777"))


# dim 1536 has room enough that chance meetings in a bucket stay small against two shared words.
@patient
@given(st.lists(words, min_size=6, max_size=6, unique_by=lambda word: word[:3]))
def test_a_text_with_shared_words_is_nearer_than_one_without(six):
    a, b, c, d, e, f = six
    wide = HashEmbedder(1536)
    base, shared, disjoint = wide.embed_documents([f"{a} {b} {c}", f"{b} {c} {d}", f"{d} {e} {f}"])
    assert base @ shared > base @ disjoint


def test_the_formula_never_changes_without_a_new_version():
    assert embedder.name == "hash-384-v1"
    assert checksum(embedder.embed_query(SENTENCE)) == "943c1766b8665373"
    assert HashEmbedder(64).name == "hash-64-v1"
    assert checksum(HashEmbedder(64).embed_query(SENTENCE)) == "d744872267c633d5"


def test_another_process_with_another_hash_seed_makes_the_same_vector():
    code = (
        "import sys; from kompanion_db.embedders import HashEmbedder\n"
        "sys.stdout.buffer.write(HashEmbedder().embed_query(sys.stdin.buffer.read().decode()).tobytes())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, input=SENTENCE.encode(), env=environment, capture_output=True, check=True)
    np.testing.assert_array_equal(np.frombuffer(run.stdout, np.float32), embedder.embed_query(SENTENCE))


@pytest.mark.parametrize(
    ("one", "other"),
    [("Hello World", "hello, WORLD!"), ("Straße", "STRASSE"), ("ﬁle ①", "file 1"), ("café", "cafe\u0301")],
)
def test_case_punctuation_and_ways_to_write_a_character_make_no_difference(one, other):
    assert similarity(one, other) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "near", "far"),
    [
        ("walk", "walking", "talked"),
        ("I like green tea", "green tea", "black coffee"),
        ("猫が好きです", "猫", "犬"),
        ("I love you ❤️", "❤", "☂"),
        ("हिन्दी भाषा", "हिन्दी", "तमिल"),
        ("!!!", "!", "?"),
        ("the dog of the house", "dog", "of the"),
    ],
)
def test_the_text_that_shares_more_is_nearer(text, near, far):
    assert similarity(text, near) > similarity(text, far) + 0.1


def test_it_matches_words_and_not_meaning():
    assert abs(similarity("car", "automobile")) < 0.2


def test_function_words_weigh_little_and_yet_have_a_vector_of_their_own():
    assert similarity("the plan of the day", "plan day") > 0.8
    assert similarity("to be or not to be", "not to be") > 0.5


def test_each_word_of_ten_thousand_texts_is_hashed_once():
    notes = [f"{i % 97} people met friend{i % 1009} in town{i % 211} for tea and cake" for i in range(10_000)]
    hashing._cached_word_hashes.cache_clear()
    embedder.embed_documents(notes)
    words = 97 + 1009 + 211 + 7
    assert hashing._cached_word_hashes.cache_info().misses == words


def test_very_long_words_are_embedded():
    assert similarity("x" * 50_000, "x" * 50_001) > 0.9


def test_no_texts_give_no_vectors():
    assert embedder.embed_documents([]).shape == (0, 384)


@pytest.mark.parametrize("bad", ["", " \n\t", "\u3000", "lone \ud800 surrogate", None, 3])
def test_a_text_without_content_is_refused_by_its_place(bad):
    with pytest.raises(BadArgument, match=r"texts\[1\]"):
        embedder.embed_documents(["fine", bad])


def test_a_single_string_is_not_taken_for_a_list_of_letters():
    with pytest.raises(BadArgument, match="not one text"):
        embedder.embed_documents("hello")


@pytest.mark.parametrize("dim", [0, -1, 16_001, 3.5, True, None, "384"])
def test_a_dimension_that_pgvector_cannot_store_is_refused(dim):
    with pytest.raises(BadArgument, match="dim"):
        HashEmbedder(dim)


def test_both_embedders_are_embedders():
    assert isinstance(embedder, Embedder)
    assert isinstance(OpenAIEmbedder("http://localhost:1/v1", "m", dim=3), Embedder)
    assert not isinstance(object(), Embedder)


def test_check_texts_takes_any_sequence_of_texts():
    assert check_texts(("a", "ü")) == ["a", "ü"]


@pytest.mark.parametrize(
    "vectors",
    [[[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]], np.ones((2, 2), order="F"), np.ones((2, 2), dtype=">f8")],
)
def test_good_vectors_become_one_contiguous_float32_array(vectors):
    checked = check_vectors(vectors, len(vectors), 2, "mine")
    assert checked.dtype == np.float32
    assert checked.dtype.isnative
    assert checked.flags.c_contiguous
    np.testing.assert_array_equal(checked, np.asarray(vectors))


def test_no_vectors_for_no_texts_are_good():
    assert check_vectors([], 0, 7, "mine").shape == (0, 7)


@pytest.mark.parametrize(
    "vectors",
    [
        None,
        "text",
        [],
        [[1.0, 2.0]],
        [[1.0], [2.0]],
        [[1.0, 2.0], [3.0]],
        [[1.0, 2.0], None],
        [1.0, 2.0],
        [[[1.0, 2.0]], [[1.0, 2.0]]],
        [[1.0, 2.0], [1.0, None]],
        [[1.0, 2.0], [1.0, float("nan")]],
        [[1.0, 2.0], [1.0, float("inf")]],
        [[1.0, 2.0], [1.0, 1e39]],
        [[1.0, 2.0], [1.0, 10**400]],
        [[1.0, 2.0], [0.0, 0.0]],
        [[1.0, 2.0], [1e-60, 0.0]],
        [[1.0, 2.0], ["one", "two"]],
        [[1.0, 2.0], {"a": 1}],
        [[1.0, 2.0], [1.0, 2j]],
        np.array([[1.0, 2.0], [1.0, 2j]]),
        np.ma.array([[1.0, 2.0], [1.0, 2.0]], mask=[[0, 0], [0, 1]]),
        [[1.0, 2.0], np.ma.array([1.0, 2.0], mask=[0, 1])],
    ],
)
def test_bad_vectors_are_refused_with_the_name_of_the_embedder(vectors):
    with pytest.raises(EmbedderError, match="'mine'") as caught:
        check_vectors(vectors, 2, 2, "mine")
    assert caught.value.hint
