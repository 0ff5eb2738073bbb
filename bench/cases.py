"""Under which scopes the queries of a data set are asked, and what the right answers are."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .data import Dataset, Floats, Ints, distances
from .filters import nearest_rows, pooled, rows_by_prefix, rows_by_tag

SHARES = (0.1, 0.01, 0.001, 0.0001)
LEVELS = {"ns_own": "own namespace", "ns_rand": "foreign namespace", "tag_rand": "tags"}
LEAST_QUERIES = 20


@dataclass
class Ask:
    """Where one query looks: a scope, tags that must all be there, the rows (sorted) that match; None: all."""

    scope: str = "*"
    tags: tuple[str, ...] | None = None
    members: Ints | None = None


@dataclass
class Case:
    """A point on the x axis: queries (q, dim), each with its Ask. ``kth``, ``size``: how far the last right answer is."""

    group: str
    share: float
    queries: Floats
    asks: list[Ask]
    rows: int
    kth: Floats
    size: Ints

    @property
    def fixed(self) -> Ask | None:
        """The one scope of all its queries, None when each has its own."""
        first = self.asks[0]
        return first if all(a is first for a in self.asks) else None

    def judge(self, data: Dataset, n: int, rows: Sequence[int]) -> tuple[float, bool, int]:
        """Recall of an answer to query n, whether it is short, and how many of its rows are out of scope.

        By distance: another row just as near as the last right one is right too, so duplicates are no loss.
        """
        size, members = int(self.size[n]), self.asks[n].members
        found = np.asarray(sorted(set(rows)), dtype=np.int64)
        outside = 0
        if members is not None and len(found):
            inside = np.isin(found, members)
            outside, found = int((~inside).sum()), found[inside]
        near = distances(self.queries[n : n + 1], data.vectors[found], data.metric)[0] if len(found) else np.zeros(0)
        bound = float(self.kth[n])
        hits = int((near <= bound + 1e-6 + 1e-5 * abs(bound)).sum())
        return min(hits, size) / size, len(rows) < size, outside


def case(data: Dataset, group: str, share: float, queries: Floats, asks: list[Ask], k: int) -> Case:
    """A case with its right answers, found by looking at everything."""
    kth, size = np.zeros(len(asks), dtype=np.float32), np.zeros(len(asks), dtype=np.int64)
    together: dict[int, list[int]] = defaultdict(list)
    for n, ask in enumerate(asks):
        together[id(ask)].append(n)
    for places in together.values():
        members = asks[places[0]].members
        vectors = data.vectors if members is None else data.vectors[members]
        for start in range(0, len(places), 50):
            some = places[start : start + 50]
            size[some] = min(k, len(vectors))
            near = distances(queries[some], vectors, data.metric)
            kth[some] = np.partition(near, size[some[0]] - 1, axis=1)[:, size[some[0]] - 1]
    rows = [len(data.vectors) if ask.members is None else len(ask.members) for ask in asks]
    return Case(group, share, queries, asks, round(float(np.mean(rows))), kth, size)


def of(
    data: Dataset, count: int, k: int, seed: int, shares: Iterable[float] = SHARES, contiguous: bool = False
) -> tuple[list[str], list[Case]]:
    """The namespace of each row, and the cases: first all rows, then every share of each group.

    A data set with namespaces or tags of its own is asked by those. Any other is cut up: into random rows
    ("independent") and into neighbouring topics, asked by queries of these topics ("own topic") and of others
    ("foreign topic"), where there are enough. With ``contiguous`` also into rows that were written one after the other ("contiguous").
    """
    rng = np.random.default_rng(seed)
    whole = Ask()
    everything = case(data, "all", 1.0, data.queries[:count], [whole] * len(data.queries[:count]), k)
    if data.namespaces or data.tags:
        namespaces = data.namespaces or ["all"] * len(data.vectors)
        filters = data.filters or pooled(data, namespaces, SHARES, rng)
        found = _by_filters(data, namespaces, filters, count, k)
        if not found:
            raise SystemExit(
                f"{data.name}: its namespaces and tags leave nothing to ask in, each is on every row or on too few; "
                "without them (--namespaces, --tags, or meta.jsonl of a folder) the rows are cut up at random and by topic"
            )
        return namespaces, [everything, *found]

    data = _with_topics(data, rng)
    assert data.topics is not None
    n = len(data.vectors)
    cuts = [(share, max(1, round(n * share))) for share in shares]
    least = (3 if contiguous else 2) * sum(size for _, size in cuts)
    if n < least:
        raise SystemExit(f"{data.name}: {n} rows are too few, the scopes of all shares take {least}")
    namespaces = np.full(n, "rest", dtype=object)
    order = rng.permutation(n)
    rank = rng.permutation(int(data.topics.max()) + 1)
    scattered = []
    if contiguous:
        taken = 0
        for share, size in cuts:
            scattered.append(("contiguous", share, np.arange(taken, taken + size)))
            taken += size
        order = order[order >= taken]
    taken = 0
    for share, size in cuts:
        scattered.append(("independent", share, np.sort(order[taken : taken + size])))
        taken += size
    order = order[taken:]
    order, taken = order[np.argsort(rank[data.topics[order]], kind="stable")], 0
    topical = []
    for share, size in cuts:
        topical.append((share, np.sort(order[taken : taken + size])))
        taken += size
    nearest = None if data.draw else nearest_rows(data)
    cases = [everything]
    for group, share, rows in scattered:
        ask = Ask(f"{'any' if group == 'independent' else 'run'}-{100 * share:g}", None, rows)
        namespaces[rows] = ask.scope
        cases.append(case(data, group, share, data.queries[:count], [ask] * len(data.queries[:count]), k))
    for group in ("own topic", "foreign topic"):
        for share, rows in topical:
            ask = Ask(f"topic-{100 * share:g}", None, rows)
            namespaces[rows] = ask.scope
            queries = _queries_about(data, rows, group == "own topic", count, rng, nearest)
            if len(queries) >= min(LEAST_QUERIES, count):
                cases.append(case(data, group, share, queries, [ask] * len(queries), k))
    return namespaces.tolist(), cases


def _with_topics(data: Dataset, rng: np.random.Generator) -> Dataset:
    """The data set with topics: where it has none, cells around random rows of it."""
    if data.topics is not None:
        return data
    n = len(data.vectors)
    centres = data.vectors[rng.choice(n, min(n, 1000, max(16, n // 100)), replace=False)]
    near = [distances(data.vectors[s : s + 20_000], centres, data.metric).argmin(axis=1) for s in range(0, n, 20_000)]
    return replace(data, topics=np.concatenate(near).astype(np.int64))


def _queries_about(
    data: Dataset, rows: Ints, inside: bool, count: int, rng: np.random.Generator, nearest: Ints | None
) -> Floats:
    """Queries of the topics of these rows, each topic as often as it has rows; or of all other topics.

    Those of data that cannot draw any are asked as they are: the ones whose nearest row is of such a topic.
    """
    topics = data.topics
    assert topics is not None
    here = np.isin(topics, np.unique(topics[rows]))
    if data.draw is None:
        return data.queries[:count][here[nearest][:count] == inside]
    pool = rows if inside else np.flatnonzero(~here) if not here.all() else np.arange(len(topics))
    return data.draw(topics[rng.choice(pool, count)], rng)


def _by_filters(
    data: Dataset, namespaces: list[str], filters: dict[str, list[str | list[str] | None]], count: int, k: int
) -> list[Case]:
    """A case of each level of filters that has queries enough."""
    prefixes, by_tag = rows_by_prefix(namespaces), rows_by_tag(data)
    known: dict[object, Ask] = {}

    def ask(wanted: str | list[str]) -> Ask:
        key = wanted if isinstance(wanted, str) else tuple(wanted)
        if key not in known:
            if isinstance(key, str):
                known[key] = Ask(key, None, prefixes.get(key, np.zeros(0, dtype=np.int64)))
            else:
                members = by_tag.get(key[0], np.zeros(0, dtype=np.int64))
                for tag in key[1:]:
                    members = np.intersect1d(members, by_tag.get(tag, np.zeros(0, dtype=np.int64)))
                known[key] = Ask("*", key, members)
        return known[key]

    cases = []
    for level, wanted in filters.items():
        asked = [(i, ask(w)) for i, w in enumerate(wanted[:count]) if w is not None]
        asked = [(i, a) for i, a in asked if len(a.members if a.members is not None else ())]
        least = min(LEAST_QUERIES, count)
        if len(asked) < least:
            print(
                f"{data.name}: {level} is left out, {len(asked)} queries have matches there, {least} are needed",
                file=sys.stderr,
            )
            continue
        share = float(np.mean([len(a.members) for _, a in asked if a.members is not None])) / len(data.vectors)
        group, share = _named(level, share)
        queries = data.queries[[i for i, _ in asked]]
        cases.append(case(data, group, share, queries, [a for _, a in asked], k))
    return sorted(cases, key=lambda c: (c.group, -c.share))


def _named(level: str, share: float) -> tuple[str, float]:
    """Group and share of a level, given what its filters keep: ``tag_rand_10pct`` is tags at 10 % when that is about right."""
    name, _, last = level.rpartition("_")
    if not re.fullmatch(r"\d+(\.\d+)?pct", last):
        return level, float(f"{share:.2g}")
    told = float(last[:-3]) / 100
    return LEVELS.get(name, name), told if 0.5 * told <= share <= 2 * told else float(f"{share:.2g}")


def check_neighbors(data: Dataset, everything: Case) -> float | None:
    """Share of the neighbours a data set brings that are as near as ours: below 1 the metric is misread."""
    if data.neighbors is None:
        return None
    k = int(everything.size[0])
    found = [everything.judge(data, n, data.neighbors[n, :k].tolist())[0] for n in range(len(everything.asks))]
    return float(np.mean(found))


def tell_misread(data: Dataset, everything: Case) -> None:
    """Say so when the neighbours a data set brings are not the nearest: then its metric is misread."""
    agreed = check_neighbors(data, everything)
    if agreed is not None and agreed < 0.99:
        print(f"the neighbours that came with {data.name} are {agreed:.3f} of ours: is --metric {data.metric} right?")
