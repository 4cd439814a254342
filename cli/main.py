"""The command `attnproof`, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Sequence

import typer

from cli import features, listing, recommend, reference, report, sweep
from cli.text import one_line
from verify.errors import AttnproofError, InvalidRequestError

app = typer.Typer(
    name="attnproof",
    help="The referee of attention formulations: exact answers, measured errors, counted costs.",
    epilog="Exit codes: 0 fine, 1 a check failed, 2 the request was wrong, 130 interrupted, 141 output not read.",
    add_completion=False,
    rich_markup_mode=None,
)
app.command("sweep")(sweep.sweep)
app.command("report")(report.report)
app.command("reference")(reference.reference)
app.command("recommend")(recommend.recommend)
app.command("features")(features.features)
app.command("list")(listing.listing)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    if sys.stdout is None:
        return _end(2, "the output is closed; expected somewhere to write to; redirect it elsewhere")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to end, it cleans up as for Ctrl-C
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding lacks
    try:
        code = app(args=None if arguments is None else list(arguments), prog_name="attnproof", standalone_mode=False)
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
    if code == 130:
        return _end(130, "interrupted; a run file keeps its finished cells, and no other file is left half-written")
    return int(code or 0)


def _end(code: int, message: str) -> int:
    with contextlib.suppress(OSError, AttributeError):  # stderr may be closed: the exit code still says it
        print(f"attnproof: {one_line(message)}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
