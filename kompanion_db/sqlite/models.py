"""Embedding models in use, and whether vectors fit them; the messages are those of pg_0011_models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import BadVector, UnknownModel
from ..types import Vector
from .session import Session

_SHORTEST, _LONGEST = 1e-15, 1e15
"""Lengths whose distances fit single precision, in which squares are added up: it holds 1.2e-38 to 3.4e38."""


@dataclass(frozen=True)
class Model:
    """A model as searches and writers need it."""

    model_id: int
    name: str
    dim: int
    metric: str


def find_model(session: Session, name: str | None = None) -> Model:
    """The model of a name that is in use; the default one without a name. Raises UnknownModel."""
    found = session.one(
        "select model_id, name, dim, metric from embedding_models where retired_at is null and "
        + ("is_default = 1" if name is None else "name = ?"),
        () if name is None else (name,),
    )
    if found is not None:
        return Model(*found)
    in_use = [n for (n,) in session.all("select name from embedding_models where retired_at is null order by name")]
    raise UnknownModel(
        "model: none is named and none is the default"
        if name is None
        else f"model: {_quoted(name)} is not registered, or retired",
        detail=f"Models in use: {', '.join(in_use) or 'none'}.",
        hint="Register it: register_model(name, dim), or choose a default: set_default_model(name).",
    )


def fit(vectors: NDArray[np.float32], metric: str) -> NDArray[np.bool_]:
    """Whether distances from vectors, shape (n, dim), can be told in single precision, as in pg_0011_models."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1)
    found: NDArray[np.bool_] = (lengths <= _LONGEST) & (lengths >= (_SHORTEST if metric == "cosine" else 0))
    return found


def check_vector(argument: str, vector: Vector | None, model: Model) -> None:
    """A vector has the dimension of its model, and a direction under cosine; BadVector otherwise."""
    if vector is None or vector.shape[0] != model.dim:
        found = "is null" if vector is None else f"has dimension {vector.shape[0]}"
        raise BadVector(
            f"{argument}: {found}, the model has dimension {model.dim}",
            hint="Embed with the model that is named, or name the model it was made with.",
        )
    if model.metric == "cosine" and not vector.any():
        raise BadVector(
            f"{argument}: is the zero vector, which has no direction to compare under cosine",
            hint="Leave out what has no embedding, or register the model with metric l2 or inner_product.",
        )
    if not fit(vector, model.metric):
        length = "longer than 1e15, too long" if np.abs(vector).max() > 1 else "shorter than 1e-15, too short"
        raise BadVector(
            f"{argument}: is {length} for distances in single precision",
            hint="Scale the vectors of the model before they are stored and asked, best to length 1.",
        )


def check_vectors(argument: str, vectors: Sequence[Vector | None], model: Model, *, nulls: bool = False) -> None:
    """Each of the vectors, as ``argument[n]`` counted from 1; with ``nulls`` one may be missing. Raises BadVector."""
    for n, vector in enumerate(vectors, 1):
        if vector is not None or not nulls:
            check_vector(f"{argument}[{n}]", vector, model)


def _quoted(name: str) -> str:
    return "'" + name[:200].replace("'", "''") + "'"
