"""What the generators share: write the file, or with ``--check`` say that it is stale."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..embedded import EmbeddedServer, start
from ..migrate import migrate, migrations_folder


def sql_folder() -> Path:
    """The ``sql`` folder of the checkout; raises NotInstalled as migrations_folder does."""
    return migrations_folder().parent


def main(name: str, render: Callable[[], str], module: str) -> None:
    """Write ``name``, such as sql/API.md, or compare it under ``--check``; exits with 1 when it is stale.

    ``module`` of this package makes it.
    """
    engine, _, file = name.partition("/")
    path = migrations_folder(engine).parent / file
    text = render()
    old = path.read_text() if path.exists() else None
    if old == text:
        print(f"{name} is fresh")
    elif "--check" in sys.argv[1:]:
        sys.exit(f"{name} is stale. Run: python -m kompanion_db.dev.{module}")
    else:
        path.write_text(text)
        print(f"{name} written")


@contextmanager
def fresh_database() -> Iterator[EmbeddedServer]:
    """An embedded server in a temporary folder whose database ``postgres`` is migrated."""
    folder = Path(tempfile.mkdtemp(prefix="kompanion-dev-"))
    try:
        with start(folder / "data") as server:
            migrate(server.url())
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)
