"""A copy in a process of its own, which says where it is, to be killed there."""

from __future__ import annotations

import subprocess
import sys

import kompanion_db
from kompanion_db import copying


def kill_at(source: str, target: str, step: int) -> int:
    """Copy in small pages, and SIGKILL the process once it has said ``step`` lines; its exit code, 0 when it was done."""
    arguments = [sys.executable, __file__, source, target]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for n, _ in enumerate(running.stdout, 1):
            if n == step:
                running.kill()
                break
    return running.returncode


def main() -> None:
    """Copy the first argument into the second, a line for every page."""
    copying.PAGE = 7
    with kompanion_db.connect(sys.argv[1]) as source, kompanion_db.connect(sys.argv[2]) as target:
        copying.copy(source, target, progress=lambda what, count: print(what, count, flush=True))


if __name__ == "__main__":
    main()
