"""Tests for mechanisms of your own."""

from __future__ import annotations

from collections.abc import Sequence

from verify.attention.contract import Mechanism, Member
from verify.conformance.mechanism import CELLS, findings_of
from verify.errors import NonconformingError
from verify.proofs.finding import Finding


def check_mechanism(
    mechanism: Mechanism,
    *,
    members: Sequence[Member] | None = None,
    cells: int = CELLS,
    processes: bool = False,
) -> tuple[Finding, ...]:
    """Return what was checked and on what; NonconformingError, a line for each check that fails, of a wrong mechanism.

    Its accounts of exact values agree; every form computes its own formula, under its bound; costs are what is counted;
    states merge, save and load; what cannot be done is refused.  members: those to examine, by default a few with small
    parameters.  cells: problems drawn at random for bounds.  processes: whether to spawn one, to see that members work
    there.

        def test_mine():
            check_mechanism(MINE)
            check_mechanism(MINE, members=[MINE.member(order=9)], cells=1000)

    A finding's scope says what it leaves open, such as costs that are compared with nothing.
    """
    findings = tuple(findings_of(mechanism, members=members, cells=cells, processes=processes))
    failures = [f"{finding.name}: {finding.difference}" for finding in findings if not finding.holds]
    if failures:
        raise NonconformingError(str(getattr(mechanism, "name", mechanism)), tuple(failures))
    return findings
