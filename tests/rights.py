"""Users who are not let in everywhere, as root is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest


def as_user(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line for one to whom the modes of files apply, as they do not to root."""
    bound = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    if bound and shutil.which(bound[0]) is None:
        pytest.skip("nothing is forbidden to root here")
    command = [*bound, sys.executable, "-m", "kompanion_db", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)
