"""What an embedder is, and the checks on what goes into one and what comes out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from kompanion_db import arguments
from kompanion_db.errors import BadArgument, EmbedderError, KompanionError

FloatArray = npt.NDArray[np.float32]


@runtime_checkable
class Embedder(Protocol):
    """Anything that turns texts into vectors of one fixed dimension.

    A plain class with these four members is an embedder; nothing needs to be inherited. A store that threads or tasks
    share calls it in several threads at once, and reads an answer after it was given: one that works in a buffer of its
    own, or with what is for one thread alone, takes a lock and answers with a copy.
    """

    @property
    def name(self) -> str:
        """Name of the embedding model, as registered in the database.

        Two embedders whose vectors may not be compared need two names.
        """

    @property
    def dim(self) -> int:
        """Number of elements of each vector."""

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        """Vectors of ``texts``, in their order: shape ``(len(texts), dim)``, float32.

        May raise ``BadArgument`` for an empty text. Of whatever else it raises the store makes ``EmbedderError``.
        """

    def embed_query(self, text: str) -> FloatArray:
        """Vector of a search text: shape ``(dim,)``, float32.

        Apart from ``embed_documents`` because many models want another prefix for a query.
        Raises as ``embed_documents`` does.
        """


def check_embedder(value: Any) -> None:
    """Raises ``BadArgument`` for what is no embedder, or has a name or a dimension that no model can have."""
    if isinstance(value, type):
        raise BadArgument(
            f"embedder: is the class {value.__name__}, not an embedder", hint=f"Make one: {value.__name__}(...)."
        )
    for member in ("name", "dim", "embed_documents", "embed_query"):
        with failing(value):
            has_it = hasattr(value, member)
        if not has_it:
            raise BadArgument(
                f"embedder: is {type(value).__name__}, which has no {member}",
                hint="An embedder has name, dim, embed_documents and embed_query, such as HashEmbedder().",
            )
    if arguments.text("embedder.name", name_of(value)) is None:
        raise BadArgument("embedder.name: is None", hint="Name the model, with its version.")
    if arguments.integer("embedder.dim", dim_of(value)) is None:
        raise BadArgument("embedder.dim: is None", hint="Give the number of elements of its vectors.")


@contextmanager
def failing(embedder: Embedder) -> Iterator[None]:
    """Let errors of the embedder out of the block as EmbedderError, chained; ours pass as they are."""
    try:
        yield
    except KompanionError:
        raise
    except Exception as exc:
        try:
            name = embedder.name
        except Exception:
            name = type(embedder).__name__
        raise EmbedderError(
            f"Embedder '{name}' failed: {type(exc).__name__}: {str(exc)[:500]}",
            hint="Its own error, with the place, is the __cause__ of this one.",
        ) from exc


def name_of(embedder: Embedder) -> str:
    """Its name, for which it may have to ask its server."""
    with failing(embedder):
        return embedder.name


def dim_of(embedder: Embedder) -> int:
    """Its dimension, for which it may have to ask its server."""
    with failing(embedder):
        return embedder.dim


def check_texts(texts: Sequence[str]) -> list[str]:
    """``texts`` as a list, each one fit to be embedded.

    Raises ``BadArgument`` when ``texts`` is a single string, or holds something that is not a
    string, is empty or only white space, or cannot be written as UTF-8.
    """
    if isinstance(texts, (str, bytes)):
        raise BadArgument("texts must be a sequence of texts, not one text.", hint="Put it in a list.")
    checked = list(texts)
    for position, text in enumerate(checked):
        where = f"texts[{position}]"
        if not isinstance(text, str):
            raise BadArgument(f"{where} must be a str.", detail=f"It is of type {type(text).__name__}.")
        if not text or text.isspace():
            raise BadArgument(
                f"{where} is empty.",
                detail="A text without content has no direction, so it has no vector.",
                hint="Leave it out, or store the item without a vector.",
            )
        # The fast look at ASCII saves encoding most texts.
        if not text.isascii():
            try:
                text.encode("utf-8")
            except UnicodeEncodeError as exc:
                raise BadArgument(
                    f"{where} is not valid Unicode text.",
                    detail=f"There is a lone surrogate at character {exc.start}.",
                    hint="Decode the source with errors='replace'.",
                ) from None
    return checked


def check_answer(embedder: Embedder, vectors: Any, n: int) -> FloatArray:
    """``check_vectors`` for what an embedder of the store answered."""
    return check_vectors(vectors, n, dim_of(embedder), name_of(embedder))


def check_vectors(vectors: Any, n: int, dim: int, name: str) -> FloatArray:
    """``vectors`` as a C-contiguous float32 array of shape ``(n, dim)``.

    ``vectors`` is what the embedder called ``name`` returned for ``n`` texts: an array or nested
    lists. Raises ``EmbedderError``, which names the embedder, when the shape is another, when an
    element is missing, NaN, infinite or beyond float32, or when a vector is all zero (it has no
    direction, so cosine distance is undefined).
    """
    try:
        arguments.refuse_masked(vectors, *(vectors if isinstance(vectors, (list, tuple)) else ()))
        # Overflow to infinity is found below, where the message can say which vector.
        with np.errstate(over="ignore"):
            given = np.asarray(vectors)
            if given.dtype.kind == "c":
                raise TypeError("the numbers are complex")
            array = np.ascontiguousarray(given, dtype=np.float32)
    except Exception as exc:  # also what a foreign array raises where it is to become one of numpy
        raise EmbedderError(
            f"Embedder '{name}' returned something that is not {n} vectors of {dim} numbers.",
            detail=f"{type(exc).__name__}: {str(exc)[:200]}",
            hint="It is to return an array, or lists, of shape (len(texts), dim).",
        ) from exc
    # n == 0 gets through as [] too, whose second axis numpy cannot know.
    if n == 0 and array.size == 0:
        return np.zeros((0, dim), dtype=np.float32)
    if array.shape != (n, dim):
        raise EmbedderError(
            f"Embedder '{name}' returned vectors of the wrong shape.",
            detail=f"Expected {(n, dim)}, got {array.shape}.",
            hint="Check that the model is the one registered under this name.",
        )
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        raise EmbedderError(
            f"Embedder '{name}' returned a vector with a missing, NaN or infinite element.",
            detail=f"It is the vector of text {int(np.argmin(finite))} of {n}, counted from 0.",
            hint="See what the model makes of that text by itself; in half precision some overflow.",
        )
    nonzero = array.any(axis=1)
    if not nonzero.all():
        raise EmbedderError(
            f"Embedder '{name}' returned a vector that is all zero.",
            detail=f"It is the vector of text {int(np.argmin(nonzero))} of {n}, counted from 0.",
            hint="A vector without direction is near nothing: leave out texts that the model knows no word of.",
        )
    return array
