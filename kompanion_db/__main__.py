"""``python -m kompanion_db`` is the command ``kompanion-db``."""

from __future__ import annotations

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
