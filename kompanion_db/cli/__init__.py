"""The command line, ``kompanion-db``. Each module adds the commands of one theme to ``app``."""

from __future__ import annotations

# The order of the commands in --help.
# isort: off
from . import schema
from . import items
from . import searching
from . import transfer
from . import upkeep
from . import moving
from . import files
from . import tuning
from . import models
from . import server
from . import sql
from . import showing

# isort: on
from .app import app
from .run import main

__all__ = [
    "app", "files", "items", "main", "models", "moving", "schema", "searching", "server", "showing", "sql", "transfer",
    "tuning", "upkeep",
]  # fmt: skip
