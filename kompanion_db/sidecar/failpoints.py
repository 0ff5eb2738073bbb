"""Labelled points at which a test may kill this process, as a power cut would: no cleanup, no exit handlers.

``KOMPANION_FAILPOINT=label`` kills at the first pass of a label, ``label:3`` at the third. Without it nothing happens.
"""

from __future__ import annotations

import os
import signal
import threading
import time

_lock = threading.Lock()
_passes_left: dict[str, int] = {}


def arm(label: str, passes: int = 1) -> None:
    """Kill this process at that pass of the label, counted from now."""
    _passes_left[label] = passes


def reached(label: str) -> None:
    """This point of the work is reached."""
    if _passes_left and label in _passes_left:
        with _lock:
            _passes_left[label] -= 1
            if _passes_left[label] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)  # until the signal is there


if "KOMPANION_FAILPOINT" in os.environ:
    _label, _, _count = os.environ["KOMPANION_FAILPOINT"].partition(":")
    arm(_label, int(_count or 1))
