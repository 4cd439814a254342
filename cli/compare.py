"""attnproof compare: what changed from one run file to another, beyond noise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.text import Columns, asked, choice, one_line, print_json, show, width_of
from verify.errors import InvalidRequestError


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="The run file before.", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="B", help="The run file after.", show_default=False)],
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="When to exit with 1, repeatable, as in 'total_max > 1.1x': a number of B by its column in cells.csv,"
            " and with an x how many times that of A.  [default: anything changed]",
            show_default=False,
        ),
    ] = None,
    style: Annotated[
        str, typer.Option("--as", help="plain, markdown, csv or latex; csv has every change, and raw numbers.")
    ] = "plain",
    columns: Columns = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare two runs.

    Says what changed from one run file to another beyond noise, and where machines, versions or code differ. Exit code
    1 if anything changed, or only if a condition holds for a cell that is in both.
    """
    from reports.comparison import (
        change_lines,
        changes_record,
        changes_table,
        comparison_record,
        condition_lines,
        summary_lines,
        verdict_lines,
    )
    from reports.text import STYLES
    from verify.sweep.compare import compare_runs
    from verify.sweep.conditions import condition

    asked("--as", choice, style, "style", STYLES)
    if json_ and style != "plain":
        raise InvalidRequestError(f"--as {style} with --json", "one of the two", "leave one out")
    width = width_of(columns)
    conditions = [asked("--fail-if", condition, text) for text in fail_if or []]
    found = compare_runs(first, second, conditions)
    if conditions and not found.judged:
        raise InvalidRequestError(
            "conditions on " + ", ".join(dict.fromkeys(each.statistic for each in conditions)),
            "a number that a cell in both runs has",
            "choose another (--fail-if)",
        )
    shown = [change for _, change in found.held] if conditions else found.changes
    failed = bool(shown)
    if json_:
        print_json(comparison_record(found))
    elif style != "plain":
        print(changes_table(shown).styled(style, changes_record(shown)))
    else:
        lines = condition_lines(found, [each.text for each in conditions]) if conditions else verdict_lines(found)
        for line in (*summary_lines(found, (str(first), str(second))), *lines):
            show(one_line(line), width)
        if failed:
            for line in change_lines(shown):
                show(one_line(line), width)
    if failed:
        raise typer.Exit(1)
