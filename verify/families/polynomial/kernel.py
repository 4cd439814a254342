"""Mechanisms whose weights are a polynomial of the logit: w_t = sum_p c_p s_t^p, with a state of symmetric features."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import partial
from math import comb, factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.arguments import Choice, Flag, Parameter, Whole, checked_size
from verify.attention.contract import Form, Member, TileWeights
from verify.attention.cost import Cost
from verify.attention.running import unservable
from verify.families.costs import FeatureCost, PolynomialCost, cache_cost, feature_cost
from verify.families.logit import LogitKernel
from verify.families.polynomial import bounds, forms
from verify.families.polynomial.basis import degree_feature_count, dense_feature_count
from verify.families.polynomial.exact import PowerSums
from verify.families.polynomial.mistakes import mistaken_weights
from verify.families.polynomial.polynomial import coefficients_of, nearest, polynomial
from verify.families.polynomial.state import CHUNK, DEGREES, SIDES, PolynomialState
from verify.numbers.arithmetic import ARITHMETICS, Arithmetic
from verify.numbers.arrays import BoolArray, Float64Array
from verify.numbers.fields import Field, Number
from verify.numbers.formats import FORMATS
from verify.parallel.blocks import Block
from verify.problem import Head, Problem

_STATE_OPTIONS: dict[str, Parameter] = {
    "side": Choice("query", tuple(SIDES)),
    "degrees": Choice("together", DEGREES),
    "storage": Choice(None, tuple(FORMATS)),
    "compensated": Flag(),
}
_LIMITS = ("watch", "memory_limit")


def packed_cost(problem: Problem, member: Member) -> Cost:
    """Return the cost of packed features: those kept, (d_v + 1) numbers for each; nobody published the operations."""
    counts = [comb(problem.head_size + p - 1, p) for p in range(polynomial(member).order(member) + 1)]
    factors = polynomial(member).factors(member)
    features = sum(count for p, count in enumerate(counts) if factors is None or factors[p] != 0)
    return Cost(features, (problem.value_size + 1) * features, None)


def dense_cost(problem: Problem, member: Member) -> Cost:
    """Return the cost of all d^p features of every degree."""
    features = dense_feature_count(problem.head_size, polynomial(member).order(member))
    return Cost(features, (problem.value_size + 1) * features, None)


def polynomial_forms(
    cost: Any = packed_cost, state: Any = PolynomialState, operations: Any = None, *, published: bool = False
) -> tuple[Form, ...]:
    """Return the forms of a polynomial of the logits; cost, state and operations: of its own, if there are.

    published: the cost is a paper's count, which need not equal the operations.
    """
    return (
        Form(
            "scores",
            "polynomial of the logits by Horner's rule, every pair of tokens",
            forms.scores,
            cache_cost,
            rounding=bounds.scores,
            adjusts=True,
            by_row=True,
        ),
        Form(
            "packed",
            "symmetric features and a state, in chunks of an eighth of the tokens, 16 to"
            f" {CHUNK}; a causal chunk's own pairs by scores",
            forms.packed,
            cost,
            rounding=bounds.packed,
            operations=operations,
            published=published,
            state=state,
            serves=partial(unservable, form="packed", instead="scores"),
            options={"chunk": Whole(None, least=1)} | _STATE_OPTIONS,
            limits=_LIMITS,
        ),
        Form(
            "stream",
            "symmetric features and a state, token by token if causal",
            forms.stream,
            cost,
            rounding=bounds.stream,
            operations=operations,
            published=published,
            state=state,
            serves=partial(unservable, form="stream", instead="scores"),
            options=_STATE_OPTIONS,
            limits=_LIMITS,
        ),
        Form(
            "dense",
            "all d^p features of every degree, and weights from them",
            forms.dense,
            dense_cost,
            rounding=bounds.dense,
            limits=("memory_limit",),
            by_row=True,
        ),
    )


class PolynomialKernel(LogitKernel):
    """A polynomial of the logit, declared by its coefficients.

    A subclass has name, description, source, parameters and

        def coefficients(self, member):
            return [Fraction(1), Fraction(1), Fraction(1, 2)]

    Everything else follows: exact values, forms pair by pair and with a state, costs and bounds.  nested: the members
    have the same coefficients, each up to its own order, so that the exact values of all are found in one pass.
    """

    nested = False
    forms = polynomial_forms()

    @abstractmethod
    def coefficients(self, member: Member) -> Sequence[Fraction]:
        """Return c_0 .. c_N, exactly."""

    def order(self, member: Member) -> int:
        """Return N, the highest power kept."""
        return len(coefficients_of(member)) - 1

    def factors(self, member: Member) -> Sequence[float] | None:
        """Return p! c_p for p = 0 .. N."""
        return [nearest(factorial(p) * c) for p, c in enumerate(coefficients_of(member))]

    def evaluate(
        self, logits: NDArray[Any], member: Member, arithmetic: Arithmetic, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Return c_0 + s (c_1 + ...), every step in the arithmetic's sums; in `out`, if not in a new array."""
        total = np.empty_like(logits) if out is None else out
        *lower, highest = coefficients_of(member)
        total[...] = arithmetic.as_sum_constant(nearest(highest))
        for c in reversed(lower):
            total *= logits
            total = arithmetic.as_sum(total)
            if c:
                total += arithmetic.as_sum_constant(nearest(c))
                total = arithmetic.as_sum(total)
        return total

    def evaluation(self, member: Member) -> tuple[Sequence[int], Sequence[float]]:
        """Return p products, an addition for each c_i != 0 with i <= p and i < N, and a rounding of c_p.

        Powers of two are not rounded, and the first product with one is exact.  An error of a step is multiplied by s
        in the next ones.
        """
        coefficients = coefficients_of(member)
        order = len(coefficients) - 1
        added = [sum(c != 0 for c in coefficients[: min(p + 1, order)]) for p in range(order + 1)]
        counts = [p + added[p] + (not _power_of_two(c)) for p, c in enumerate(coefficients)]
        counts[-1] -= order > 0 and _power_of_two(coefficients[-1])
        return counts, [1.0] * (order + 1)

    def function(self, f: Field, s: Number, member: Member) -> Number:
        """Return sum_p c_p s^p, term by term."""
        return f.sum([f.ratio(c) * s**p for p, c in enumerate(coefficients_of(member)) if c])

    def balls(self, block: Block, members: Sequence[Member], *, magnitudes: bool) -> Iterable[TileWeights]:
        """Return the weights of a block in balls, grown by one power at a time."""
        groups = [list(members)] if self.nested else [[member] for member in members]
        return [PowerSums(block, group, magnitudes) for group in groups]

    def float_weights(
        self, head: Head, rows: slice, attended: BoolArray, member: Member
    ) -> tuple[Float64Array, Float64Array]:
        """Return weights in float64, and the sums of the magnitudes of their terms."""
        logits, float64 = head.logits(rows), ARITHMETICS["float64"]
        weights = self.evaluate(logits, member, float64)
        absolute = [abs(nearest(c)) for c in coefficients_of(member)]
        return weights, bounds.evaluated(absolute, np.abs(logits))

    def mistaken_weights(self, head: Head, rows: slice, member: Member) -> Iterable[tuple[str, Float64Array]]:
        """Return weights of wrong coefficients, and of features without their multiplicities."""
        return mistaken_weights(head, rows, member)

    def counts(self, head_size: int, value_size: int | None, member: Member) -> FeatureCost:
        """Return what the features cost that are kept; nobody has published the operations."""
        coefficients = coefficients_of(member)
        d, order = checked_size("head size", head_size), len(coefficients) - 1
        counts = [degree_feature_count(d, p) for p in range(order + 1)]
        features = sum(count for count, c in zip(counts, coefficients, strict=True) if c)
        own = PolynomialCost(order, counts[-1], dense_feature_count(d, order), str(coefficients[-1]))
        return feature_cost(member, d, value_size, features, None, own)

    def work(self, member: Member) -> int:
        """Return how many powers of a logit there are."""
        return self.order(member) + 1


def _power_of_two(x: Fraction) -> bool:
    """Return whether x is 0 or plus or minus a power of two: every format holds it, but for its range."""
    size = abs(x.numerator) * x.denominator  # in lowest terms, one of the two is 1 if it is a power of two
    return size & (size - 1) == 0
