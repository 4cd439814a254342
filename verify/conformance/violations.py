"""Whether the bounds of a mechanism hold in every arithmetic, and whether they say anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from verify.attention.contract import Form, Member
from verify.attention.variant import Variant
from verify.conformance.allowance import FLOAT64
from verify.conformance.answers import differences, first_beyond, rounding_bound, wrong_in_turn
from verify.conformance.subject import Subject, guarded, option_values, refused, run_apart
from verify.measure.decomposition import exact_gap
from verify.measure.metrics import computed_error
from verify.mechanisms.registry import baseline
from verify.numbers.arithmetic import ARITHMETICS
from verify.problem import Problem

FLOAT32 = ARITHMETICS["float32"]


def exceeded_rounding_bounds(subject: Subject) -> Iterator[str]:
    """Yield random problems on which a form is further off than its bound, with and without options drawn at random.

    Every arithmetic takes its turn with a member before the next member does.
    """
    rng = np.random.default_rng(52)
    for number, (problem, arithmetic) in enumerate(subject.drawn()):
        member = subject.members[number // len(ARITHMETICS) % len(subject.members)]
        for form in subject.mechanism.forms:
            if form.rounding is None or refused(form, problem):
                continue
            for variant in dict.fromkeys((Variant(member, form.name), _drawn(rng, member, form))):
                where = f"{variant.name} in {arithmetic.name} on {problem.name!r}"
                yield from guarded(where, differences, subject, problem, variant, arithmetic, plain=False)
    yield from wrong_in_turn(subject, bounded=True)
    for form in subject.mechanism.forms:
        if form.rounding is not None:
            for member in subject.members:
                yield from guarded(f"{member.name}/{form.name}", _says_nothing, subject, member, form)


def _drawn(rng: np.random.Generator, member: Member, form: Form) -> Variant:
    """Return the form with options drawn at random."""
    chosen: list[tuple[str, Any]] = []
    for name, parameter in form.options.items():
        values = option_values(parameter)
        chosen.append((name, values[int(rng.integers(len(values)))]))
    return Variant(member, form.name, tuple(chosen))


def _says_nothing(subject: Subject, member: Member, form: Form) -> Iterator[str]:
    """Yield that bounds for float64 are infinite on every plain case, or hold for what float32 computes as well."""
    variant, finite, noticed = Variant(member, form.name), 0, False
    for case in subject.cases:
        if not case.plain or refused(form, case.problem) or not case.problem.attended_rows.any():
            continue
        exact = subject.exact(case.problem, member)
        if exact is None:
            continue
        bound = rounding_bound(variant, case.problem, exact.value, FLOAT64)[case.problem.attended_rows]
        finite += bool(np.isfinite(bound).all())
        computed = run_apart(variant, case.problem, FLOAT32).value
        error = np.abs(computed_error(computed, exact))[case.problem.attended_rows]
        noticed |= bool((~(error <= bound) & np.isfinite(bound)).any())
    if not finite:
        yield "the bound for float64 is infinite on every plain case; expected a finite one, or rounding=None"
    elif not noticed:
        yield f"on {finite} plain cases the bound for float64 is kept by float32: it says nothing"


def exceeded_formula_bounds(subject: Subject) -> Iterator[str]:
    """Yield problems, members in turn, on which exact values are further from softmax than the bound on that."""
    drawn = (problem for problem, _ in subject.drawn())
    problems = [*(case.problem for case in (*subject.cases, *subject.longer)), *drawn]
    for number, problem in enumerate(problems):
        member = subject.members[number % len(subject.members)]
        yield from guarded(f"{member.name} on {problem.name!r}", _formula, subject, problem, member)


def _formula(subject: Subject, problem: Problem, member: Member) -> Iterator[str]:
    bound = subject.mechanism.formula_bound(problem, member)
    if bound is None:
        return
    if bound.shape != problem.output_shape or np.isnan(bound).any():
        unknown = int(np.isnan(bound).sum())
        yield f"formula_bound() {list(bound.shape)}, {unknown} NaN; expected {list(problem.output_shape)}, none"
        return
    exact, softmax = subject.exact(problem, member), subject.exact(problem, baseline().member)
    if exact is None or softmax is None:
        return
    truths = subject.truths(problem)
    gap, radius = exact_gap((truths, member), (truths, softmax.member))
    least = np.maximum(np.abs(gap) - radius, 0.0)
    # a row without a value is as far away as can be: nothing bounds it
    place = first_beyond(least, bound, np.zeros(problem.attended_rows.shape, dtype=np.bool_))
    if place is not None:
        yield f"element {list(place)} is {gap[place]:.6g} away from softmax, and the bound on that {bound[place]:.6g}"
