"""Embedders turn text into vectors: the protocol, a built-in one, and one for embedding servers."""

from __future__ import annotations

from kompanion_db.embedders.base import Embedder, check_texts, check_vectors
from kompanion_db.embedders.hashing import HashEmbedder
from kompanion_db.embedders.openai import OpenAIEmbedder

__all__ = ["Embedder", "HashEmbedder", "OpenAIEmbedder", "check_texts", "check_vectors"]
