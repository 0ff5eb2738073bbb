"""How a benchmark begins and ends as a command: what it needs is there, and whatever ends it leaves nothing running."""

from __future__ import annotations

import importlib.util
import io
import logging
import signal
import sys
from collections.abc import Callable
from types import FrameType

from kompanion_db.errors import KompanionError

PACKAGES = ("matplotlib", "PIL", "tqdm", "psutil")
INTERRUPTED = 130
"""The status of a process that Ctrl-C has ended."""
ENDED = tuple(128 + getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""The status of a process that timeout has ended, or a terminal that was closed."""


def need(*packages: str) -> None:
    """Exit when one of these packages is not installed."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise SystemExit(
            f"not installed: {', '.join(missing)}. The extra bench brings what benchmarks need: "
            "make bench installs it and runs them all; pip install -e '.[bench]' installs it alone."
        )


def run(main: Callable[[], object]) -> None:
    """Run a benchmark as a command. What ends it from outside ends it by an exception.

    Ended as Python does it by default, it would leave its servers running and its databases in servers of others.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name it cannot show is no reason to lose what was measured
        sys.stdout.reconfigure(errors="backslashreplace")
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # nohup wants it ignored
            signal.signal(number, _end)
    try:
        main()
    except KeyboardInterrupt:
        pass
    except KompanionError as exc:  # too little maintenance_work_mem, for one: it says what to do
        raise SystemExit(f"error: {exc}") from exc
    else:
        return
    print("\ninterrupted; no server and no database of it is left behind", file=sys.stderr)
    raise SystemExit(INTERRUPTED)


def _end(number: int, _: FrameType | None) -> None:
    """End by an exception. A second signal must not keep it from cleaning up."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # that a statement is broken off is no news
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)
