"""A copy in a process of its own, which says where it is and waits there, to be killed."""

from __future__ import annotations

import signal
import subprocess
import sys

import kompanion_db
from kompanion_db import copying

PAGE = 7


def kill_at(source: str, target: str, step: int) -> bool:
    """Copy in pages of ``PAGE``, and SIGKILL the process at its ``step``-th line; whether it got that far before it was done.

    A process that ends in any other way fails.
    """
    arguments = [sys.executable, __file__, source, target]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        for n, _ in enumerate(running.stdout, 1):
            if n == step:
                running.kill()
                break
            running.stdin.write("\n")
            running.stdin.flush()
    assert running.returncode in (0, -signal.SIGKILL), "the copy failed by itself"
    return running.returncode != 0


def say_and_wait(what: str, count: int) -> None:
    """A line, and no step further before one comes back."""
    print(what, count, flush=True)
    sys.stdin.readline()


def main() -> None:
    """Copy the first argument into the second, a line for every page."""
    copying.PAGE = PAGE
    with kompanion_db.connect(sys.argv[1]) as source, kompanion_db.connect(sys.argv[2]) as target:
        copying.copy(source, target, progress=say_and_wait)


if __name__ == "__main__":
    main()
