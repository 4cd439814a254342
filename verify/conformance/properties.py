"""What holds of a form in every arithmetic, whatever it knows of its rounding.

Keys that no query sees change nothing.  A row that sees one key gives its value, values that are constant stay so, and
what two values give adds up to what their sum gives: up to rounding, for which there is an allowance (`_allowed`) that
needs no bound of the form's.  Sums of weights are those of the formula, and values, where there is no bound, within
what the formula itself may lose.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.attention.contract import Member
from verify.attention.variant import Variant
from verify.conformance.allowance import FLOAT64, leeway
from verify.conformance.answers import differences, wrong_in_turn
from verify.conformance.subject import Subject, copied, guarded, refused, run_apart
from verify.numbers.arithmetic import ARITHMETICS, Arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem import Problem

CONSTANT = 1.5

# Keys that no query sees where there is a mask, and that nothing before sees in a causal problem.
UNSEEN = (1, 3)
LAST = 4

# So many outputs that rounding weights would move, and that are right to the last bit, are no luck.
TOO_GOOD = 6

# The smallest weight, and the part of the largest factor, for which rounding is taken to be relative to each number.
LEAST_WEIGHT = 2.0**-5
PART_OF_LARGEST = 2.0**-4


def wrong_in_some_arithmetic(subject: Subject) -> Iterator[str]:
    """Yield arithmetics in which a form answers wrongly, as far as can be told without a bound."""
    problems = [copied(problem) for problem in PROBLEMS]
    for member in subject.members:
        for form in subject.mechanism.forms:
            variant = Variant(member, form.name)
            for arithmetic in ARITHMETICS.values():
                where = f"{variant.name} in {arithmetic.name}"
                for problem in problems:
                    if not refused(variant, problem):
                        on = f"{where} on {problem.name!r}"
                        if problem.q.ndim == 2:
                            yield from guarded(on, _broken, variant, problem, arithmetic)
                        yield from guarded(on, differences, subject, problem, variant, arithmetic, plain=True)
                if arithmetic.factors == arithmetic.sums != FLOAT64.factors:
                    yield from guarded(where, _unrounded, subject, variant, arithmetic)

    yield from wrong_in_turn(subject, bounded=False)


def _problems() -> Iterator[Problem]:
    """Yield 5 keys, all seen, causal, and under a mask; and two heads that share keys, causal, with a scale.

    Components are multiples of 1/8 near 1, and values small multiples of 1/2, which every format holds.  Columns of v:
    a constant, two that add up to the next.
    """
    rng = np.random.default_rng(56)
    q, k = (rng.integers(6, 11, (5, 2)) / 8.0 for _ in range(2))
    one, other = (rng.integers(-2, 3, 5).astype(np.float64) for _ in range(2))
    v = np.stack([np.full(5, CONSTANT), one, other, one + other], axis=1)
    mask = np.array([[1, 0, 0, 0, 0], [1, 0, 1, 0, 1], [0, 0, 1, 0, 1]], dtype=np.bool_)
    yield Problem(q[:3], k, v, name="5 keys")
    yield Problem(q, k, v, causal=True, name="5 tokens, causal")
    yield Problem(q[:3], k, v, mask=mask, name="5 keys under a mask")
    heads = np.stack([q, q[::-1]])
    yield Problem(heads, k[None], v[None], scale=0.375, causal=True, name="two heads over one, causal, with a scale")


PROBLEMS = tuple(_problems())


def _losing() -> Problem:
    rng = np.random.default_rng(62)
    q, k, v = (rng.standard_normal(shape) for shape in ((8, 3), (12, 3), (12, 3)))
    return Problem(q, k, v, name="12 keys")


# Numbers of which hardly any product or sum is one of a narrow format.
LOSING = _losing()


def _broken(variant: Variant, problem: Problem, arithmetic: Arithmetic) -> Iterator[str]:
    output = run_apart(variant, problem, arithmetic)
    value = output.value.astype(np.float64)
    if problem.mask is not None:
        other = run_apart(variant, _changed(problem, UNSEEN), arithmetic)
        yield from _unlike("output", output.value, other.value)
        yield from _unlike("sum of weights", output.normaliser, other.normaliser)
    allowed = _allowed(problem, arithmetic, variant.member)
    if not np.isfinite(allowed).all():
        return
    largest = np.abs(problem.v).max(axis=0)
    # each of three outputs may be off by what the largest of its values allows
    total, parts = value[:, 3], value[:, 1] + value[:, 2]
    yield from _apart("a constant does not stay so", value[:, 0], np.full(len(value), CONSTANT), allowed * CONSTANT)
    yield from _apart("two outputs do not add up to that of the sum", total, parts, allowed * largest[1:].sum())
    for row, seen in enumerate(next(problem.each_head()).attended()):
        if seen.sum() == 1:
            own = problem.v[seen][0]
            yield from _apart(
                f"row {row} does not give the one key that it sees", value[row], own, allowed[row] * np.abs(own)
            )
    if problem.causal:
        later = run_apart(variant, _changed(problem, (LAST,)), arithmetic).value.astype(np.float64)
        for column in range(problem.value_size):
            found, expected = later[:LAST, column], value[:LAST, column]
            both = 2 * allowed[:LAST] * largest[column]
            yield from _apart("what comes before the last token changes with it", found, expected, both)


def _unrounded(subject: Subject, variant: Variant, arithmetic: Arithmetic) -> Iterator[str]:
    """Yield that nothing is lost where weights alone, rounded to factors, would move some of the outputs.

    That all of them are the exact values rounded is no luck then: they were computed in another arithmetic.  Where sums
    have more bits than factors, a form may do all in sums.
    """
    if refused(variant, LOSING):
        return
    problem = subject.rounded(LOSING, arithmetic.inputs)
    exact = subject.exact(problem, variant.member)
    if exact is None:
        return
    (head,) = problem.each_head()
    attended = head.attended()
    weights, _ = variant.member.mechanism.float_weights(head, slice(0, problem.queries), attended, variant.member)
    with np.errstate(all="ignore"):
        held = arithmetic.factors.rounded(weights).astype(np.float64)
        moved = arithmetic.output.rounded(held @ head.v / held.sum(axis=1, keepdims=True)).astype(np.float64)
        right = arithmetic.output.rounded(exact.value).astype(np.float64)
    found = run_apart(variant, problem, arithmetic).value.astype(np.float64)
    apart = int(np.count_nonzero(np.isfinite(moved) & (moved != right)))
    if apart >= TOO_GOOD and (found == right).all():
        yield f"on {problem.name!r} all outputs are the exact values rounded; rounding weights would move {apart}"


def _unlike(what: str, before: NDArray[Any], after: NDArray[Any]) -> Iterator[str]:
    """Yield that keys which no query sees change something, NaN apart, which is no answer to what else is asked."""
    one, other = (np.asarray(x).astype(np.float64) for x in (before, after))
    places = np.argwhere((one != other) & ~(np.isnan(one) & np.isnan(other)))
    if places.size:
        yield f"the {what} at {places[0].tolist()} changes with keys {list(UNSEEN)}, which no query sees"


def _apart(what: str, found: Float64Array, expected: Float64Array, allowed: Float64Array) -> Iterator[str]:
    """Yield the first number, NaN included, that is further off than allowed."""
    places = np.flatnonzero(~(np.abs(found - expected) <= allowed))
    if places.size:
        i = int(places[0])
        yield f"{what}: number {i} is {found[i]:.6g}, expected {expected[i]:.6g}, allowed {allowed[i]:.3g} off"


def _changed(problem: Problem, tokens: tuple[int, ...]) -> Problem:
    """Return the problem with other keys and values there, of about the same size."""
    k, v = problem.k.copy(), problem.v.copy()
    k[list(tokens)] = 2.0 - k[list(tokens)]
    v[list(tokens)] = 4.0 - v[list(tokens)]
    return problem.but(k=k, v=v)


def _allowed(problem: Problem, arithmetic: Arithmetic, member: Member) -> Float64Array:
    """Return how far off an output may be for values of the size 1, [n_q]; infinite where weights leave the format.

    A weight is rounded to factors twice: as it is, and if it is divided by Z before it meets v.  Products, sums and the
    quotient take a rounding of the sums for each of n keys and two more, L times as many as a form may be arranged
    otherwise; the output takes one.  With a_t the size of what w_t is added up from, that is relative to sum_t a_t in
    numerator and in Z alike, hence twice:

        2 ((1 + f)^2 (1 + s)^(L (n + 2)) (1 + o) - 1) sum_t a_t / |Z|.
    """
    (head,) = problem.each_head()
    attended = head.attended()
    with np.errstate(all="ignore"):
        weights, sizes = member.mechanism.float_weights(head, slice(0, problem.queries), attended, member)
    inside = (np.abs(weights) >= LEAST_WEIGHT) & (sizes <= PART_OF_LARGEST * arithmetic.factors.largest)
    if not inside[attended].all():
        return np.full(problem.queries, np.inf)
    f, s, o = (2.0**-x.precision for x in (arithmetic.factors, arithmetic.sums, arithmetic.output))
    rounded = np.expm1(2 * np.log1p(f) + leeway(arithmetic) * (problem.keys + 2) * np.log1p(s) + np.log1p(o))
    z, size = (np.where(attended, x, 0.0).sum(axis=1) for x in (weights, sizes))
    return np.asarray(2 * rounded * size / np.abs(z))
