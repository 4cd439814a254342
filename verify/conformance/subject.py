"""What is examined: a mechanism, some of its members, and what they give exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from verify.arguments import Choice, Count, Flag, Parameter, Value
from verify.attention.computed import AttentionOutput
from verify.attention.contract import Form, Mechanism, Member
from verify.attention.variant import Variant
from verify.conformance.cases import CASES, LONGER, Case, random_cells
from verify.conformance.formula import ExactWeights, TrackedWeights, exact_weights, examined_rows, tracked_weights
from verify.conformance.normalisers import Sums, exact_sums, wrong_sums
from verify.errors import CertificationError, InvalidRequestError, MechanismError, UndefinedWeightsError
from verify.measure.decomposition import Truths
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.formats import Format
from verify.problem import PARTS, Problem
from verify.problem.selection import of_rows
from verify.truth import Reference

# Values of the axis that are examined unless others are given: so many of the first, and the largest up to LARGER.
AXIS_VALUES = 3
LARGER = 6


class Subject:
    """A mechanism under examination.

    members: those that are examined.  cells: how many problems are drawn at random.  all_cases: copies of the cases,
    which others share.  truths: of a problem, its exact values, each worked out once.  rounded: the same problem again
    for the same format.  twice: a problem with every token twice.  others: of the same shapes, with one
    thing changed in each.  weights,
    tracked, sums: what the formula gives on a problem, worked out once.  examined: the rows whose sums of weights are
    compared, and the problem of these.

    Raises InvalidRequestError unless there are members, all of this mechanism.
    """

    def __init__(self, mechanism: Mechanism, members: Sequence[Member], cells: int) -> None:
        others = [member.name for member in members if member.mechanism is not mechanism]
        if not members or others:
            given = f"members {', '.join(others)}" if others else "no members"
            raise InvalidRequestError(given, f"some of {mechanism.name}", "make them with its member()")
        self.mechanism = mechanism
        self.members = tuple(members)
        self.cells = cells
        self.all_cases, self.all_longer = _copies(CASES), _copies(LONGER)
        self.truths: Callable[[Problem], Truths] = cache(lambda problem: Truths(problem, self.members))
        self.rounded: Callable[[Problem, Format], Problem] = cache(lambda problem, format_: problem.rounded(format_))
        self.twice: Callable[[Problem], Problem] = cache(_twice)
        self.every_other_row: Callable[[Problem], Problem] = cache(_every_other_row)
        self.others: Callable[[Problem], list[Problem]] = cache(_others)
        self.weights: Callable[[Problem, Member], ExactWeights] = cache(exact_weights)
        self._tracked: Callable[[Problem, Member, Format, np.dtype[Any]], TrackedWeights] = cache(tracked_weights)
        self.examined: Callable[[Problem], tuple[list[int], Problem]] = cache(examined_rows)
        self.sums: Callable[[Problem, Member, Arithmetic], Sums] = cache(self._sums)

    def tracked(self, problem: Problem, member: Member, arithmetic: Arithmetic) -> TrackedWeights:
        """Return the formula's weights tracked in an arithmetic, the same for all with these factors and carrier."""
        return self._tracked(problem, member, arithmetic.factors, arithmetic.dtype)

    def wrong_sums(
        self, output: AttentionOutput, variant: Variant, problem: Problem, arithmetic: Arithmetic
    ) -> Iterator[str]:
        """Yield the first row of an output, among those examined, whose sum of weights is another one."""
        rows, some = self.examined(problem)
        sums = self.sums(some, variant.member, arithmetic)
        yield from wrong_sums(output, variant, problem, arithmetic, rows, sums)

    def _sums(self, problem: Problem, member: Member, arithmetic: Arithmetic) -> Sums:
        exact, tracked = self.weights(problem, member), self.tracked(problem, member, arithmetic)
        return exact_sums(problem, arithmetic, exact, tracked)

    @property
    def cases(self) -> list[Case]:
        """The cases for which the formula has a meaning."""
        return [case for case in self.all_cases if not refused(self.mechanism, case.problem)]

    @property
    def longer(self) -> list[Case]:
        """The longer contexts for which the formula has a meaning."""
        return [case for case in self.all_longer if not refused(self.mechanism, case.problem)]

    def overwritten(self) -> Iterator[str]:
        """Yield cases that have been written into, which are then made anew."""
        found = [
            f"writes into its inputs: {changed} of {case.name!r}"
            for case, before in zip([*self.all_cases, *self.all_longer], [*CASES, *LONGER], strict=True)
            if (changed := _changed(case.problem, before.problem))
        ]
        if found:
            self.all_cases, self.all_longer = _copies(CASES), _copies(LONGER)
        yield from found

    def drawn(self) -> Iterator[tuple[Problem, Arithmetic]]:
        """Yield problems drawn at random, those for which the formula has a meaning, each in an arithmetic."""
        for problem, arithmetic in random_cells(self.cells):
            if not refused(self.mechanism, problem):
                yield problem, arithmetic

    def exact(self, problem: Problem, member: Member) -> Reference | None:
        """Return the exact output of a member; None where it cannot be certified."""
        try:
            return self.truths(problem).of(member)
        except (CertificationError, UndefinedWeightsError):
            return None


def refused(what: Mechanism | Form | Variant, problem: Problem) -> bool:
    """Return whether a problem is refused, as what gives something else than a refusal is."""
    try:
        return what.refusal(problem) is not None
    except MechanismError:
        return True


def _copies(cases: Iterable[Case]) -> list[Case]:
    return [replace(case, problem=copied(case.problem)) for case in cases]


def _every_other_row(problem: Problem) -> Problem:
    part = of_rows(problem, range(0, problem.queries, 2))
    return part.named(f"every other row of {problem.name}")


def _twice(problem: Problem) -> Problem:
    k, v = (np.concatenate([array, array], axis=-2) for array in (problem.k, problem.v))
    return Problem(problem.q, k, v, problem.scale, name=f"{problem.name}, every token twice")


def _others(problem: Problem) -> list[Problem]:
    changes: dict[str, Any] = {
        "q": problem.q * 0.75,
        "k": problem.k[..., ::-1, :],
        "v": 1.0 - problem.v,
        "scale": 0.5 * problem.float_scale,
    }
    if problem.mask is not None:
        changes["mask"] = np.roll(problem.mask, 1, axis=-1)
    for name in ("bias", "sinks", "alibi_slopes", "softcap"):
        if getattr(problem, name) is not None:
            changes[name] = 0.5 * getattr(problem, name)
    if problem.dropout_mask is not None:
        changes["dropout_mask"] = ~problem.dropout_mask
    return [problem.but(**{name: value}, name=f"{problem.name} with another {name}") for name, value in changes.items()]


def copied(problem: Problem) -> Problem:
    """Return a problem with arrays of its own."""
    return problem.named(problem.name)


def run_apart(variant: Variant, problem: Problem, arithmetic: Arithmetic) -> AttentionOutput:
    """Run a form on a copy of a problem; ValueError if it writes into that."""
    own = copied(problem)
    output = variant.run(own, arithmetic)
    require_unchanged(own, problem)
    return output


def require_unchanged(given: Problem, before: Problem) -> None:
    """Raise ValueError if a problem is no longer what it was, bit for bit."""
    changed = _changed(given, before)
    if changed:
        raise ValueError(f"writes into its inputs: {changed}")


def _changed(given: Problem, before: Problem) -> str:
    return ", ".join(name for name in PARTS if _bits(getattr(given, name)) != _bits(getattr(before, name)))


def _bits(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_bits(part) for part in value]
    return (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value


def members_of(mechanism: Mechanism) -> list[Member]:
    """Return members to examine: of the axis a few first values of a search, a larger one, and what is proposed.

    Of each other parameter the default and another value, or every choice, with the first values of all others; and
    one member with the second values of all.  The
    default of the axis may be large, and stands for no more than small ones do.
    """
    values = {name: _values(mechanism, name, parameter) for name, parameter in mechanism.parameters.items()}
    first = {name: given[0] for name, given in values.items()}
    chosen = [first, *(first | {name: value} for name, given in values.items() for value in given)]
    chosen.append({name: given[min(1, len(given) - 1)] for name, given in values.items()})
    return list(dict.fromkeys(mechanism.member(**each) for each in chosen))


def _values(mechanism: Mechanism, name: str, parameter: Parameter) -> list[Value]:
    if name == mechanism.axis:
        proposed = [] if mechanism.proposed is None else [mechanism.proposed]
        searched = list(mechanism.searched(None))
        larger = [value for value in searched[AXIS_VALUES:] if value <= LARGER][-1:] or searched[AXIS_VALUES:][:1]
        return [*searched[:AXIS_VALUES], *larger, *proposed]
    values = option_values(parameter)
    return values if isinstance(parameter, Choice) else values[:2]


def option_values(parameter: Parameter) -> list[Value]:
    """Return values that a parameter takes, the default first: both of a flag, every choice, 1, 3 and the least."""
    wanted: list[Value | None] = [parameter.default]
    if isinstance(parameter, Flag):
        wanted += [False, True]
    elif isinstance(parameter, Choice):
        wanted += parameter.among
    else:
        wanted += [1, 3] if isinstance(parameter, Count) else [1, 3, parameter.least]
    return list(dict.fromkeys(value for value in wanted if value is not None and _takes(parameter, value)))


def _takes(parameter: Any, value: Value) -> bool:
    try:
        parameter.checked("value", value)
    except InvalidRequestError:
        return False
    return True


def one_line(error: Exception) -> str:
    """Return what an error says, and of what kind it is, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def guarded(where: str, differences: Callable[..., Iterable[str]], *given: Any, **named: Any) -> Iterator[str]:
    """Yield the differences of a call and where they are; what the mechanism raises is one of them."""
    try:
        for difference in differences(*given, **named):
            yield f"{where}: {difference}"
    except Exception as error:  # whatever somebody else's mechanism raises
        yield f"{where}: {one_line(error)}"
