"""The command `attnproof`, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.main import get_command

from cli import check, compare, features, gates, listing, recommend, reference, report, sweep
from cli.text import Interrupted, one_line
from verify.errors import AttnproofError, InvalidRequestError

app = typer.Typer(
    name="attnproof",
    help="The referee of attention formulations: exact answers, measured errors, counted costs.",
    epilog="Exit codes: 0 fine, 1 a check failed, 2 the request was wrong, 130 interrupted, 141 output not read.",
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        print(f"attnproof {version('attnproof')} ({', '.join(_versions())})")
        raise typer.Exit


def _versions() -> Iterator[str]:
    yield f"python {platform.python_version()}"
    yield from (f"{name} {version(name)}" for name in ("numpy", "mpmath", "python-flint"))


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    _: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    """The referee of attention formulations: exact answers, measured errors, counted costs."""
    if context.invoked_subcommand is None:
        print(context.get_help())


app.command("sweep")(sweep.sweep)
app.command("report")(report.report)
app.command("check")(check.check)
app.command("compare")(compare.compare)
app.command("reference")(reference.reference)
app.command("recommend")(recommend.recommend)
app.command("features")(features.features)
app.command("gates")(gates.gates)
app.command("list")(listing.listing)


@cache
def _command() -> Callable[..., Any]:
    """Return the command with all its options, which takes a tenth of a second to make."""
    return get_command(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    if sys.stdout is None:
        return _end(2, "the output is closed; expected somewhere to write to; redirect it elsewhere")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to end, it cleans up as for Ctrl-C
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding lacks
    try:
        given = None if arguments is None else list(arguments)
        code = _command()(args=given, prog_name="attnproof", standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        return _end(2, f"{error.format_message().rstrip('.')}; see attnproof --help")
    except InvalidRequestError as error:
        return _end(2, str(error))
    except AttnproofError as error:
        return _end(1, str(error))
    except (BrokenPipeError, SystemExit):
        # whoever read the output has gone (typer exits by itself then): end as the signal would have, and let nothing
        # be flushed at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _end(2, f"the output cannot be written ({error.strerror}); expected room for it; redirect it elsewhere")
    except Interrupted as kept:
        return _end(130, str(kept))
    if code == 130:
        return _end(130, "interrupted; no file is left half-written")
    return int(code or 0)


def _end(code: int, message: str) -> int:
    with contextlib.suppress(OSError, AttributeError):  # stderr may be closed: the exit code still says it
        print(f"attnproof: {one_line(message)}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
