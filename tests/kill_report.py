"""What a campaign of kills counts, and the writers it hears."""

from __future__ import annotations

import json
import os
import select
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Report:
    """What a campaign counts.

    ``failed`` are errors that writers met, and labels that none came to; ``missed`` are rounds in which none was killed at
    the label, which says nothing of a store. ``first`` is the round in which a store was found broken first.
    """

    processes: int = 0
    rounds: int = 0
    kills: int = 0
    cuts: int = 0
    acknowledged: int = 0
    lost: int = 0
    phantom: int = 0
    torn: int = 0
    unopenable: int = 0
    failed: int = 0
    missed: int = 0
    first: int | None = None
    at: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    @property
    def corrupted(self) -> int:
        """What reading a store found wrong with it."""
        return self.lost + self.phantom + self.torn + self.unopenable

    @property
    def bad(self) -> int:
        """All that broke: that, and what writers met."""
        return self.corrupted + self.failed

    def count(self, what: str, example: str) -> None:
        """Something broke."""
        setattr(self, what, getattr(self, what) + 1)
        if self.first is None and self.corrupted:
            self.first = self.rounds
        if len(self.examples) < 10:
            self.examples.append(f"round {self.rounds}: {what}: {example}"[:600])

    def text(self) -> str:
        """One line of figures."""
        labelled = {label: n for label, n in self.at.items() if label}
        fewest = f", {len(labelled)} labels each at least {min(labelled.values())} times" if labelled else ""
        return (
            f"{self.processes} processes: {self.rounds} rounds, {self.kills} SIGKILLs, {self.cuts} power cuts{fewest}, "
            f"{self.acknowledged} transactions acknowledged: {self.lost} lost, {self.phantom} phantom, "
            f"{self.torn} torn, {self.unopenable} that do not open, {self.failed} errors, {self.missed} labels missed"
        )


@dataclass
class Running:
    """A writer in its process."""

    pid: int
    pipe: int
    changes: list[dict[str, int | None]] = field(default_factory=list)
    done: int = 0
    backups: list[str] = field(default_factory=list)
    failed: str | None = None
    rest: bytes = b""

    def hear(self, wait: float = 0) -> bool:
        """Take in what it has said; whether there may be more."""
        while select.select([self.pipe], [], [], wait)[0]:
            data = os.read(self.pipe, 1 << 20)
            *lines, self.rest = (self.rest + data).split(b"\n")
            for line in lines:
                said = json.loads(line)
                if "set" in said:
                    self.changes.append(said["set"])
                self.done += said.get("done", 0)
                self.backups += [said["backup"]] if "backup" in said else []
                self.failed = said.get("failed", self.failed)
            if not data:
                return False
            wait = 0
        return True
