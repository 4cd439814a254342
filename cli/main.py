"""The command `attnproof`, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from cli import features, listing, report, sweep
from cli.text import one_line
from verify.errors import AttnproofError

app = typer.Typer(
    name="attnproof",
    help="The referee of attention formulations: exact answers, measured errors, counted costs.",
    epilog="Exit codes: 0 fine, 1 a check failed, 2 the request was wrong, 130 interrupted.",
    add_completion=False,
    rich_markup_mode=None,
)
app.command("sweep")(sweep.sweep)
app.command("report")(report.report)
app.command("features")(features.features)
app.command("list")(listing.listing)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        code = app(args=None if arguments is None else list(arguments), prog_name="attnproof", standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        return _refuse(f"{error.format_message().rstrip('.')}; see attnproof --help")
    except AttnproofError as error:
        return _refuse(str(error))
    except BrokenPipeError:  # whoever read the output has gone; nothing more can be said to them
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if code == 130:
        print("attnproof: interrupted; what was finished is kept", file=sys.stderr)
    return int(code or 0)


def _refuse(message: str) -> int:
    print(f"attnproof: {one_line(message)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
