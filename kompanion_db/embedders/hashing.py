"""An embedder without a model: signed feature hashing of words and parts of words."""

from __future__ import annotations

import math
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from kompanion_db.arguments import MAX_DIM
from kompanion_db.embedders.base import FloatArray, check_texts
from kompanion_db.errors import BadArgument

# Changing any of these changes every vector: raise VERSION with it, which changes the name. The weights
# were chosen by looking up 1,380 descriptions in Python's and numpy's docstrings by their first sentence
# (mean reciprocal rank at dim 384: 0.39; 0.29 without n-grams, 0.37 with function words at full weight).
VERSION = 1
NGRAM_LENGTHS = (3, 4, 5)
WORD_WEIGHT = 1.0
NGRAM_WEIGHT = 0.5
BIGRAM_WEIGHT = 0.3
FUNCTION_WORD_WEIGHT = 0.1
# Encoded data and addresses come as words of hundreds of n-grams: they weigh no more than these many.
MOST_NGRAMS = 64

FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        a about above after again all also am an and any are as at be because been before being below
        between both but by can could d did do does doing don down during each few for from further had
        has have having he her here hers him his how i if in into is it its just ll m me more most my no
        nor not now of off on once only or other our out over own re s same she should so some such t than
        that the their them then there these they this those through to too under until up ve very was we
        were what when where which while who whom why will with would you your yours
        """,
    )
)
"""English articles, pronouns, prepositions, conjunctions, auxiliaries and the tails of ``it's``, ``don't``.

They are in nearly every text and so tell texts apart badly; they keep ``FUNCTION_WORD_WEIGHT`` of a
word's weight, not zero, so that a text of nothing else still has its own vector.
"""

# Chinese and Japanese put no spaces between words, and an emoji stands for a word: each of these
# characters counts as a word of its own (the bi-grams then join neighbours, as in Lucene's CJKAnalyzer).
_LONE = re.compile(
    "([\u2600-\u27bf\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001f300-\U0001faff\U00020000-\U0003ffff])"
)
_ASCII_WORD = re.compile("[a-z0-9]+")
_MAX_CACHED_LETTERS = 32
_SLAB = 256

_ONE = np.ones(1)
_Hashes = npt.NDArray[np.uint64]


class HashEmbedder:
    """Words and parts of words hashed into ``dim`` buckets: no model, no download, the same everywhere.

    It matches words, not meaning: "car" and "automobile" are as unrelated here as "car" and "cloud",
    while "walk", "walks" and "walking" are near. Good for tests, for demonstrations and as a fuzzy
    word match; use a language model's embedder to search by meaning.

    The formula: the text is NFKC-normalised and case-folded, then cut into words (runs of letters, marks
    and digits; each Han, kana or emoji character by itself; if there is no word, each character that is
    not white space). Features are the word, weight 1; its character 3- to 5-grams with ``<`` and ``>`` at
    its ends (Bojanowski et al. 2017, arXiv:1607.04606), weight 0.5 each, or ``4 / sqrt(m)`` where there are
    ``m`` > 64 of them; and each pair of neighbouring words, weight 0.3. A word or pair found ``tf`` times
    weighs ``1 + ln(tf)`` times as much, one of the ``FUNCTION_WORDS`` a tenth. Each feature adds plus or
    minus its weight to one bucket, sign and bucket from one BLAKE2b hash (Weinberger et al. 2009,
    arXiv:0902.2206), and the sum is scaled to length 1.

    ``dim``: 1 to 16,000, the most that pgvector stores. Raises ``BadArgument`` for another.
    """

    def __init__(self, dim: int = 384) -> None:
        if isinstance(dim, bool) or not isinstance(dim, int) or not 1 <= dim <= MAX_DIM:
            raise BadArgument(f"dim must be an integer from 1 to {MAX_DIM}.", detail=f"Got {dim!r}.")
        self._dim = dim

    @property
    def name(self) -> str:
        """``hash-<dim>-v<version>``: the version changes with the formula."""
        return f"hash-{self._dim}-v{VERSION}"

    @property
    def dim(self) -> int:
        """Number of elements of each vector."""
        return self._dim

    def __repr__(self) -> str:
        return f"HashEmbedder(dim={self._dim})"

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        """Unit vectors of ``texts``: shape ``(len(texts), dim)``, float32.

        A vector does not depend on the other texts. Raises ``BadArgument`` for an empty text.
        """
        checked = check_texts(texts)
        vectors = np.empty((len(checked), self._dim), dtype=np.float32)
        for start in range(0, len(checked), _SLAB):
            slab = checked[start : start + _SLAB]
            vectors[start : start + len(slab)] = self._embed(slab)
        return vectors

    def embed_query(self, text: str) -> FloatArray:
        """Unit vector of ``text``: shape ``(dim,)``, float32; the same as for a document.

        Raises ``BadArgument`` for an empty text.
        """
        vector: FloatArray = self._embed(check_texts([text]))[0]
        return vector

    def _embed(self, texts: list[str]) -> FloatArray:
        hashes: list[_Hashes] = []
        shares: list[npt.NDArray[np.float64]] = []
        weights: list[float] = []
        rows: list[int] = []
        for row, text in enumerate(texts):
            for feature_hashes, share, weight in _features(text):
                hashes.append(feature_hashes)
                shares.append(share)
                weights.append(weight)
                rows.append(row)
        counts = [len(h) for h in hashes]
        all_hashes = np.concatenate(hashes)
        values = np.concatenate(shares) * np.repeat(weights, counts)
        # The lowest bit is the sign, the others choose the bucket, so the two are independent.
        values *= 1.0 - 2.0 * (all_hashes & np.uint64(1))
        buckets = ((all_hashes >> np.uint64(1)) % np.uint64(self._dim)).astype(np.int64)
        buckets += np.repeat(np.array(rows, dtype=np.int64) * self._dim, counts)
        # bincount adds in the order given, so a text's sum is the same to the bit in any batch.
        sums = np.bincount(buckets, weights=values, minlength=len(texts) * self._dim)
        vectors = np.asarray(sums.reshape(len(texts), self._dim), dtype=np.float64)
        norms = np.sqrt((vectors * vectors).sum(axis=1))
        for row in np.flatnonzero(norms < 1e-9).tolist():
            # Opposite signs met in the same buckets and cancelled out: a single feature cannot cancel.
            code = _hash("t", texts[row])
            vectors[row] = 0.0
            vectors[row, (code >> 1) % self._dim] = 1 - 2 * (code & 1)
            norms[row] = 1.0
        units: FloatArray = (vectors / norms[:, None]).astype(np.float32)
        return units


def _features(text: str) -> Iterator[tuple[_Hashes, npt.NDArray[np.float64], float]]:
    """Each distinct word and pair of words of ``text``: hashes, their shares of the weight, the weight."""
    words = _words(text)
    for word, count in Counter(words).items():
        hashes = _cached_word_hashes(word) if len(word) <= _MAX_CACHED_LETTERS else _word_hashes(word)
        yield hashes, _word_shares(len(hashes)), _tf(count) * _function_weight(word)
    for (left, right), count in Counter(pairwise(words)).items():
        weight = BIGRAM_WEIGHT * _tf(count) * _function_weight(left) * _function_weight(right)
        yield _pair_hash(left, right), _ONE, weight


def _tf(count: int) -> float:
    """Sublinear term frequency (Manning, Raghavan and Schuetze 2008, section 6.4.1)."""
    return 1.0 + math.log(count) if count > 1 else 1.0


def _function_weight(word: str) -> float:
    return FUNCTION_WORD_WEIGHT if word in FUNCTION_WORDS else 1.0


def _words(text: str) -> list[str]:
    """Words of ``text``, never none: see the formula in ``HashEmbedder``."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower()) or _characters(text)
    # Case-folding NFKC text is what Unicode promises never to change for characters once assigned
    # (Unicode stability policy), so vectors do not depend on Python's Unicode version.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _word_pattern().findall(_LONE.sub(r" \1 ", folded)) or _characters(text)


def _characters(text: str) -> list[str]:
    return [character for character in text if not character.isspace()]


@lru_cache(maxsize=1)
def _word_pattern() -> re.Pattern[str]:
    """Runs of letters, digits and combining marks; ``re`` alone cuts Indic words at their vowel signs."""
    marks = [
        re.escape(chr(code))
        for code in range(0x300, sys.maxunicode + 1)
        if unicodedata.category(chr(code)) in {"Mn", "Mc"}
    ]
    return re.compile(f"[{_LONE.pattern[2:-2]}]|[^\\W_](?:[^\\W_]|[{''.join(marks)}])*")


def _hash(kind: str, feature: str) -> int:
    """Unsigned 64-bit BLAKE2b hash; ``kind`` keeps the word ``abc`` apart from the 3-gram ``abc``."""
    return int.from_bytes(blake2b(f"{kind}{feature}".encode(), digest_size=8).digest(), "little")


def _word_hashes(word: str) -> _Hashes:
    """Hashes of a word and of its character n-grams, shape ``(1 + number of n-grams,)``, uint64."""
    marked = f"<{word}>"
    codes = [_hash("w", word)]
    codes += [_hash("c", marked[i : i + n]) for n in NGRAM_LENGTHS for i in range(len(marked) - n + 1)]
    return np.array(codes, dtype=np.uint64)


# About 20 MB when full; long words (encoded data, mostly) seldom come again and would take far more.
_cached_word_hashes = lru_cache(maxsize=32_768)(_word_hashes)


@lru_cache(maxsize=256)
def _word_shares(size: int) -> npt.NDArray[np.float64]:
    """Weights of a word and of its ``size - 1`` n-grams."""
    shares = np.full(size, NGRAM_WEIGHT * min(1.0, math.sqrt(MOST_NGRAMS / (size - 1))))
    shares[0] = WORD_WEIGHT
    return shares


def _pair_hash(left: str, right: str) -> _Hashes:
    return np.array([_hash("b", f"{left} {right}")], dtype=np.uint64)
