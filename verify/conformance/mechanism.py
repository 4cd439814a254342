"""What a mechanism must be like, checked: accounts agree, bounds hold, costs are counted, wrong requests refused.

Every check can fail, and says in one line where it first does.  The problems are small (`verify.conformance.cases`);
what holds on them is not proved for all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from verify.attention.contract import Mechanism, Member
from verify.conformance import (
    answers,
    counts,
    declaration,
    exactness,
    processes,
    properties,
    refusals,
    states,
    violations,
)
from verify.conformance.cases import CASES, LONGER
from verify.conformance.subject import Subject, members_of, one_line
from verify.errors import InvalidRequestError
from verify.numbers.arithmetic import ARITHMETICS
from verify.proofs.finding import Finding, listed

# Problems drawn at random for bounds, unless told otherwise.
CELLS = 60

SOURCE = "contract of mechanisms, verify.attention.contract"

Differences = Callable[[Subject], Iterable[str]]

CHECKS: dict[str, tuple[str, Differences]] = {
    "names": (
        "members, forms and options are read back from their names; labels, work and explanations are what tables hold",
        declaration.unreadable,
    ),
    "exact values": (
        "balls, mpmath and rational numbers agree on the formula, and on the sign of the sum of weights",
        exactness.disagreements,
    ),
    "weights": (
        "weights in float64 are the exact ones up to a positive factor of each row, and so are their magnitudes",
        exactness.wrong_weights,
    ),
    "difference from softmax": (
        "exact values are those of softmax if formula_error is None, and only then",
        exactness.not_what_it_claims,
    ),
    "forms": (
        "every form is in float64 within its bound of the exact value, or within what the formula itself may lose",
        answers.wrong_answers,
    ),
    "options": (
        "every option is taken, and changes an answer by no more than its bound, or than the formula itself may lose",
        answers.wrong_options,
    ),
    "arithmetics": (
        f"in {len(ARITHMETICS)} arithmetics, keys that nobody sees change no bit, one key gives its value, constants"
        " stay, values add up, sums of weights are the formula's; without a bound an output is within what it may lose",
        properties.wrong_in_some_arithmetic,
    ),
    "rounding bounds": (
        f"bounds on rounding hold in {len(ARITHMETICS)} arithmetics, and those for float64 are exceeded by float32",
        violations.exceeded_rounding_bounds,
    ),
    "formula bound": (
        "exact values are no further from softmax than the bound on that",
        violations.exceeded_formula_bounds,
    ),
    "costs": (
        "features and state are those a state holds, operations and FLOPs those that a run takes; whole numbers above 0"
        " that grow with the tokens unless there are features; what tables of features say is what a form costs",
        counts.wrong_costs,
    ),
    "states": (
        "a state fed in pieces, read in between, merged in any order, with any setting gives what its form gives",
        states.wrong_states,
    ),
    "saved states": ("a state that was saved and loaded is the same bit for bit", states.wrong_files),
    "refused requests": ("what does not exist or is out of bounds is refused in one line", refusals.unrefused_requests),
    "refused problems": ("problems that a form does not serve are refused in one line", refusals.unrefused_problems),
    "repetition": ("the same call gives the same bytes, whatever was asked before", answers.changing_answers),
    "pickling": ("a member comes back from pickle as it was", processes.unpicklable),
}

# What a check leaves open, to be said with its scope.
LEFT_OPEN: dict[str, Differences] = {"costs": counts.uncompared, "options": answers.idle}

ELSEWHERE: dict[str, tuple[str, Differences]] = {
    "processes": ("exact values are the same in a spawned process", processes.unlike_elsewhere)
}


def findings_of(
    mechanism: Mechanism,
    *,
    members: Sequence[Member] | None = None,
    cells: int = CELLS,
    processes: bool = False,
    only: Collection[str] | None = None,
) -> Iterator[Finding]:
    """Yield what became of every check of a mechanism; of a declaration that fails, that alone.

    members: those to examine, by default a few with small parameters.  cells: problems drawn at random for bounds, each
    in one arithmetic.  processes: whether a process is spawned to see that members work there, which takes a second.
    only: names of the checks to run after the declaration, by default all.  Raises InvalidRequestError for others.

        [finding.difference for finding in findings_of(MINE) if not finding.holds]
    """
    checks = CHECKS | (ELSEWHERE if processes else {})
    unknown = sorted(set(only or ()) - set(checks))
    if unknown:
        raise InvalidRequestError(f"unknown check {unknown[0]!r}", "one of " + ", ".join(checks), "choose one of these")
    declared = _finding(
        "declaration",
        "name, source, parameters, axis, forms and options are declared, each as it has to be",
        "what is declared",
        partial(declaration.undeclared, mechanism),
    )
    yield declared
    if not declared.holds:
        return
    try:
        chosen = members_of(mechanism) if members is None else list(members)
        subject = Subject(mechanism, chosen, cells)
        names = listed(member.name for member in chosen)
        scope = f"checked for {names}; {len(CASES)} cases, {len(LONGER)} longer, {cells} random"
    except Exception as error:  # whatever somebody else's mechanism raises
        yield Finding("members", SOURCE, "members can be made", "small parameters", difference=one_line(error))
        return
    for name, (statement, differences) in checks.items():
        if only is None or name in only:
            reach = f"{scope}{_left_open(name, subject)}"
            finding = _finding(name, statement, reach, partial(differences, subject))
            # what was written into may differ in any way: that it was comes first
            yield replace(finding, difference=next(subject.overwritten(), finding.difference))


def _left_open(name: str, subject: Subject) -> str:
    """Return what a check compares with nothing, as the end of its scope."""
    try:
        left = list(LEFT_OPEN[name](subject)) if name in LEFT_OPEN else []
    except Exception as error:  # whatever somebody else's mechanism raises
        left = [one_line(error)]
    return f"; compared with nothing: {'; '.join(left)}" if left else ""


def _finding(name: str, statement: str, scope: str, differences: Callable[[], Iterable[str]]) -> Finding:
    """Return the first difference, or the error that the search for it ended with, in one line."""
    try:
        difference = next(iter(differences()), None)
    except Exception as error:  # whatever somebody else's mechanism raises
        difference = one_line(error)
    return Finding(name, SOURCE, statement, scope, difference=difference)
