"""Run a command and turn whatever ends it into an exit code and, for an error, two lines on stderr."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import typer

from ..errors import KompanionError
from ..urls import redact
from .app import app
from .output import clean

# typer >= 0.20 carries its own click; older ones use the package. Its usage errors are the bases of this one.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]
_USERINFO = re.compile(r"\b([A-Za-z][\w+.-]*://)([^\s/:@]*):\S*@")

USAGE, INTERRUPTED, BROKEN_PIPE, TERMINATED = 2, 130, 141, 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code. Errors of the user are printed, never raised."""
    _replace_closed_streams()
    given = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # where the terminal's encoding lacks a character
    try:
        _invoke(given or ["--help"])
        sys.stdout.flush()
        return 0
    except typer.Exit as exc:
        return exc.exit_code
    except BrokenPipeError:
        # The reader has had enough, as with "| head". Python would complain while flushing at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except SystemExit as exc:
        if not isinstance(exc.__context__, BrokenPipeError):
            raise
        return BROKEN_PIPE  # typer prints the help on a console of rich's own, which makes a silent 1 of it
    except KompanionError as exc:
        return _report(f"{one_line(exc)} ({state_of(exc)})", exc.hint)
    except _UsageError as exc:
        return _report(exc.format_message(), _help_of(exc), USAGE)  # type: ignore[attr-defined]
    except (KeyboardInterrupt, typer.Abort, EOFError):
        return INTERRUPTED
    except OSError as exc:
        where = f"{exc.filename}: " if exc.filename else ""
        return _report(f"{where}{exc.strerror or exc}", None)


def _replace_closed_streams() -> None:
    """Python has None for a stream that came closed (``>&-``): nobody gives, nobody reads, nobody is told."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115  # for as long as the process lives
    if sys.stdout is None:
        os.open(os.devnull, os.O_WRONLY)  # in the place of stdout, which a file of the store would take
        reading, writing = os.pipe()
        os.close(reading)
        sys.stdout = os.fdopen(writing, "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _invoke(arguments: list[str]) -> None:
    # Not app(...): that makes a silent exit with 1 of a broken pipe, on its own.
    command = typer.main.get_command(app)
    with command.make_context("kompanion-db", arguments) as context:
        command.invoke(context)


def one_line(exc: KompanionError) -> str:
    """Message and detail of an error, without line breaks."""
    message = exc.message if not exc.detail else f"{exc.message.rstrip('.')}. {exc.detail}"
    return " ".join(message.split())


def state_of(exc: KompanionError) -> str:
    """The SQLSTATE of an error: ours, or the server's where we have none for it."""
    found: str | None = getattr(exc.__cause__, "sqlstate", None)
    return found if found and type(exc) is KompanionError else exc.sqlstate


def error_lines(message: str, hint: str | None) -> list[str]:
    """The lines that stand for an error, without passwords and control characters."""
    lines = [f"error: {message}", *([f"hint: {hint}"] if hint else [])]
    return [clean(_USERINFO.sub(r"\1\2:***@", redact(" ".join(line.split())))) for line in lines]


def _report(message: str, hint: str | None, code: int = 1) -> int:
    for line in error_lines(message, hint):
        print(line, file=sys.stderr)
    return code


def _help_of(exc: Exception) -> str | None:
    context = getattr(exc, "ctx", None)
    return f"{context.command_path} --help" if context else "kompanion-db --help"


def stop_on_sigterm() -> None:
    """Let SIGTERM unwind the stack as Ctrl-C does, so that an embedded server is let go."""

    def handler(number: int, frame: FrameType | None) -> None:
        raise SystemExit(TERMINATED)

    signal.signal(signal.SIGTERM, handler)
