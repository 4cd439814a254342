"""attnproof check --cases: a function on cases of another suite."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cli.again import cases_command
from cli.progress import progress_bar
from cli.text import asked, one_line, printable, show, words
from verify.errors import InvalidRequestError
from verify.integers import how_many

if TYPE_CHECKING:
    from verify.check.run import Asked, Checked


def checked_on(own: Asked, cases: str | None, only: str | None, arithmetic: str | None, replay: Path | None) -> Checked:
    """Return what becomes of a function on the cases of a path, or some of them; own.left_out: names of others."""
    from verify.check.foreign.judging import check_cases, chosen
    from verify.check.foreign.reading import foreign_cases

    if cases is None:
        raise InvalidRequestError("--only without --cases", "cases of which some are named", "name them too")
    for option, given in (
        ("--replay", replay is not None),
        ("--suite", own.suite != "quick"),
        ("--backward", own.backward),
    ):
        if given:
            raise InvalidRequestError(f"--cases and {option}", "one of the two", "leave one out")
    found = asked("--cases", foreign_cases, words(cases))
    some = chosen(found, () if only is None else words(only), own.left_out)
    with progress_bar("cases") as update:
        return check_cases(replace(own, suite=cases), some, arithmetic, update)


def show_again(checked: Checked, width: int) -> None:
    """Print which cases were judged in part, and the command that runs a case that failed again."""
    from verify.check.judgement import Verdict

    for result in checked.results:
        if "; judged: " in result.reason:
            show(one_line(f"{result.name}: {result.reason}"), width)
    failed = checked.of(Verdict.FAILED)
    if failed:
        show(f"{how_many(len(failed), 'case')} failed; to run {one_line(failed[0].name)} again:", width)
        print(f"  {printable(cases_command(checked.asked, failed[0].name))}")
