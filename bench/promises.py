"""What is promised of each figure: the benchmarks judge by it, and their pictures show it."""

from __future__ import annotations

SEARCH_RATIO, SEARCH_MS = 1.3, 0.3
"""A search takes at most so many times what the best plan by hand that reaches the target takes, and so much more."""
TUNER_RECALL, TUNER_RATIO = 0.01, 1.2
"""What tune_index chooses misses its target by no more than this, and takes at most so many times the best of a sweep."""
GROWTH_RATIO, GROWTH = 1.3, 100
"""A search of a scope takes at most so many times what it takes in a store so many times smaller."""
COPY_SHARE, ITEMS_A_SECOND = 0.2, 10_000
"""A bulk load is at least this share of a bare COPY, and at least so fast."""
COPY_DIM, COPY_ITEMS = 384, 20_000
"""That holds at this dimension, and from so many items on: of fewer, the beginning and the end of a load are too great a part."""
UPSERT_RATIO, UPSERT_CLIENTS = 0.7, (1, 8)
"""Single upserts are at least this share of a statement written by hand, by so many clients."""
