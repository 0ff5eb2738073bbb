"""The steps of bench.embedded: what each measured is kept, so that a run that was broken off goes on."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Pause(Exception):
    """Time is over; the rest is measured when called again."""


class Steps:
    """What was measured so far, kept in a file with all that its figures depend on."""

    def __init__(self, path: Path, settings: dict[str, Any], minutes: float | None) -> None:
        self.path, self.settings = path, settings
        kept = json.loads(path.read_text()) if path.exists() else {"settings": settings, "done": {}}
        before = kept.get("settings", {})
        names = [name for name in before | settings if before.get(name) != settings.get(name)]
        if names:
            changed = "; ".join(f"{name} was {before.get(name)}, is {settings.get(name)}" for name in names)
            raise SystemExit(
                f"{path} has figures of another run: {changed}. Run it as it was, or name another --folder."
            )
        self.done: dict[str, Any] = kept["done"]
        self.end = time.monotonic() + 60 * (1e6 if minutes is None else minutes)

    def step(self, name: str, measure: Callable[[], Any]) -> Any:
        """What a step measured, now or earlier."""
        if name not in self.done:
            if time.monotonic() > self.end:
                raise Pause
            self.done[name] = measure()
            written = self.path.with_suffix(".new")  # so that it is whole, whenever this is ended
            written.write_text(json.dumps({"settings": self.settings, "done": self.done}))
            written.replace(self.path)
        return self.done[name]


def code() -> str:
    """Digest of all code that a figure may depend on: what is not committed has the same commit before and after a change."""
    root = Path(__file__).parent.parent
    files = sorted(f for part in ("bench", "kompanion_db", "sqlite", "sql") for f in (root / part).rglob("*")
                   if f.suffix in (".py", ".sql"))  # fmt: skip
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:12]
