"""Kills processes that write to a store, at random moments and at every labelled step, and counts what that broke.

    python tests/kills.py --processes 3 --random 300 --each-label 20

Writers say what they are about to commit and what they have; after the kill another process opens the store and reads it.
It must hold what was said to be committed, and of what was under way all or nothing. This process forks the others before
it opens anything itself.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import kill_store
import power
from kill_controls import CONTROLS
from kill_report import Report, Running
from kill_store import State
from kill_writer import STEPS, Writer, write_until_killed

from kompanion_db.sqlite.files import Place

PATIENCE = 20.0
"""Seconds in which a writer reaches its label, or says why not."""

ATTEMPTS = 3
"""Rounds for a label: on a busy machine the first may end before it is reached."""

ROUNDS_A_STORE = 25


def labels() -> list[str]:
    """Every label of the package, as its source has them."""
    root = Path(kill_store.derive.__file__).parent.parent
    text = "".join(path.read_text() for path in [*root.glob("sidecar/*.py"), *root.glob("sqlite/**/*.py")])
    plain = set(re.findall(r'reached\("([a-z.]+)"\)', text))
    files = re.findall(r'reached\(f"\{self\._step\}(\.[a-z]+)"\)', text)
    commits = re.findall(r'reached\(f"\{step\}(\.[a-z]+)"\)', text)
    stepped = {s + end for s in ("fold", "merge", "bulk", "ann") for end in files}
    stepped |= {s + end for s in re.findall(r'writing\(conn, "([a-z]+)"\)', text) for end in commits}
    found = sorted(plain | stepped, key=lambda label: (STEPS.index(label.split(".")[0]), label))
    assert len(files) == 4, "the labels of this module are read from the source"
    assert len(commits) == 2
    return found


class Campaign:
    """Rounds of writing and killing in a folder."""

    def __init__(
        self, folder: Path, processes: int, seed: int, without: str | None, disk: power.Disk | None, synchronous: str
    ) -> None:
        self.folder, self.without, self.disk, self.synchronous = folder, without, disk, synchronous
        self.random = random.Random(seed)
        self.seed = itertools.count(seed * 1000 + 1)
        self.report = Report(processes)
        self.state: State = {}
        self.spoilt = False
        self.template = Place(folder / "template.db")
        in_child(lambda: kill_store.make_template(self.template))

    @property
    def place(self) -> Place:
        """Where the store is that is killed."""
        return Place((self.disk.folder if self.disk else self.folder) / "store.db", self.synchronous)

    def kill(self, label: str, cut: bool) -> None:
        """A round, or with a label as many as it takes to reach it."""
        for _ in range(ATTEMPTS):
            if self.round(label, cut):
                return
        self.report.count("failed", f"{label} was not reached in {ATTEMPTS} rounds")

    def round(self, label: str = "", cut: bool = False) -> bool:
        """Start the writers, kill them, and see what there is; whether one was killed at the label, if there is one."""
        bad = self.report.bad
        if self.report.rounds % ROUNDS_A_STORE == 0 or self.spoilt:
            self.state = {}
            kill_store.copy_template(self.template, self.place)
            if self.disk:
                self.disk.sync()
        self.report.rounds += 1
        running = [self._start(n, label if n == 0 else "") for n in range(self.report.processes)]
        try:
            reached = self._let_die(running, label)
            if cut:
                self._cut(running)
        finally:
            for one in running:
                with suppress(ProcessLookupError):
                    os.kill(one.pid, signal.SIGKILL)
        self._bury(running)
        if cut:
            assert self.disk is not None
            self.disk.restart()
        self._compare(running, cut)
        for one in running:
            os.close(one.pipe)
        self.report.at[label] += reached
        self.report.missed += not reached
        self.spoilt = self.report.bad > bad
        return reached

    def _start(self, number: int, label: str) -> Running:
        reading, writing = os.pipe()
        seed, passes = next(self.seed), self.random.choice((1, 1, 2, 3))
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # FAISS finds the training sets small
            if self.without:
                CONTROLS[self.without]()
            write_until_killed(Writer(self.place, number, self.state, seed, writing, label, passes))
        os.close(writing)
        return Running(pid, reading)

    def _let_die(self, running: list[Running], label: str) -> bool:
        """Until the first dies at its label, or for a while; whether it did, if there is one."""
        left = PATIENCE if label else self.random.uniform(0.005, 0.3)
        while left > 0:
            before = time.monotonic()
            alive = [one.hear(min(left, 0.01)) for one in running]
            if not all(alive):
                return not label or not (alive[0] or running[0].failed)
            left -= min(time.monotonic() - before, 0.1)  # not the time for which all of this was stopped
        return not label

    def _cut(self, running: list[Running]) -> None:
        for one in running:
            one.hear()
        assert self.disk is not None
        self.disk.cut()
        self.report.cuts += 1

    def _bury(self, running: list[Running]) -> None:
        for one in running:
            _, status = os.waitpid(one.pid, 0)
            self.report.kills += os.WIFSIGNALED(status)

    def _compare(self, running: list[Running], cut: bool) -> None:
        # A commit that is not synced may be undone by a power cut, and with it all after it.
        floor = [one.done if self.synchronous == "full" else 0 for one in running]
        for one in running:
            one.hear()
            if one.failed and not cut:
                self.report.count("failed", one.failed)
        self.report.acknowledged += sum(one.done for one in running)
        found = in_child(lambda: kill_store.observe(self.place))
        if isinstance(found, str):
            self.report.count("unopenable", found)
            return
        for text in found["wrong"]:
            self.report.count("torn", text)
        state: State = found["state"]
        for number, one in enumerate(running):
            self._compare_one(number, one, floor[number] if cut else one.done, state)
        self.state = state
        finished = [] if cut else [name for one in running for name in one.backups]
        copies = in_child(lambda: kill_store.observe_backups(self.place.path.parent, finished))
        for text in [copies] if isinstance(copies, str) else copies:
            self.report.count("torn", text)

    def _compare_one(self, number: int, one: Running, floor: int, state: State) -> None:
        """What a writer's keys are now is what they were after one of its transactions that may have been the last."""
        prefix = f"{number}."
        found = {key: v for key, v in state.items() if key.startswith(prefix)}
        expected = {key: v for key, v in self.state.items() if key.startswith(prefix)}
        nearest: State = dict(expected)
        for n in range(len(one.changes) + 1):
            if n >= floor:
                if found == expected:
                    return
                nearest = dict(expected) if n == floor else nearest
            if n < len(one.changes):
                expected.update({k: v for k, v in one.changes[n].items() if v is not None})
                for key in (k for k, v in one.changes[n].items() if v is None):
                    expected.pop(key, None)
        missing = {k: v for k, v in nearest.items() if found.get(k) != v}
        extra = {k: v for k, v in found.items() if nearest.get(k) != v}
        self.report.count("lost" if missing else "phantom", f"missing {missing}, there instead {extra}")


def in_child(work: Callable[[], Any]) -> Any:
    """What ``work`` returns in a forked process, or the text of its error."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            answer: Any = work()
        except BaseException as exc:
            answer = f"{type(exc).__name__}: {exc}"
        with os.fdopen(writing, "w") as pipe:
            json.dump(answer, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    return json.loads(text) if text else f"the reading process died: status {status}"


def main() -> None:
    """Run a campaign and print its figures; fails when something broke."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--processes", type=int, default=1)
    options.add_argument("--random", type=int, default=50, help="rounds that kill at a random moment")
    options.add_argument("--each-label", type=int, default=1, help="rounds that kill at each label")
    options.add_argument(
        "--cuts",
        type=int,
        default=0,
        help="rounds that cut the power, every other one at a label (root, ext4 in a file)",
    )
    options.add_argument("--synchronous", choices=("full", "normal"), default="full")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--without", choices=sorted(CONTROLS), help="remove a step of the protocol on purpose")
    options.add_argument("--until-broken", action="store_true", help="stop when a store was found broken")
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    plan = [("", False)] * given.random + [(label, False) for label in labels() for _ in range(given.each_label)]
    aimed = labels() if given.cuts else []
    plan += [(aimed[n % len(aimed)] if n % 2 else "", True) for n in range(given.cuts)]
    if given.without:
        plan = plan[:150]
    random.Random(given.seed).shuffle(plan)
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    disk = power.Disk(folder) if given.cuts else None
    try:
        campaign = Campaign(folder, given.processes, given.seed, given.without, disk, given.synchronous)
        for label, cut in plan:
            campaign.kill(label, cut)
            if given.until_broken and campaign.report.corrupted:
                break
    finally:
        if disk:
            disk.close()
        shutil.rmtree(folder, ignore_errors=True)
    report = campaign.report
    print(json.dumps(vars(report)) if given.json else "\n".join([report.text(), *report.examples]))
    sys.exit(report.bad > 0)


if __name__ == "__main__":
    main()
