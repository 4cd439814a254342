"""Some queries of a head with all its keys in one arithmetic: what the bounds of all forms are made of."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, frexp, log, sqrt

import numpy as np
from numpy.typing import NDArray

from verify.bounds.unit import Accumulated, accumulated
from verify.numbers.arithmetic import LIBRARY, Arithmetic
from verify.numbers.arrays import BoolArray, Float64Array
from verify.numbers.formats import Format
from verify.problem import Head, Problem

Rows = NDArray[np.int64]  # numbers of queries

# exp(-800) is below the smallest number of every format.
_NOTHING = 800.0


@dataclass(frozen=True)
class WeightBound:
    """Exact weights of some rows of a head, up to a factor for each row, and how they are computed.

    weights, moved, size: [rows, n_k], w_t, bounds on |dw_t| and on a_t.  spread: g.  evaluation: relative to a_t, how
    far off w_t may be here.  overflows: whether something may exceed the largest number.  absolute: what underflow may
    take from numerator and Z by itself, whatever v is.
    """

    weights: Float64Array
    moved: Float64Array
    size: Float64Array
    spread: float
    evaluation: float
    overflows: bool
    absolute: float = 0.0


class Pairs:
    """Some rows of a head with all its keys in one arithmetic; a sink counts as one more key.

    gamma: how roundings add up.  f, s, carrier: unit roundoffs of factors, sums and carrier; tiny: the smallest numbers
    of the first two together; lowest: exp(-lowest) is the smallest factor.  narrowed: what rounding a number of sums to
    a factor does, which is nothing where they have one format.  exact: 1 where the product of two factors is a number
    of sums, else 0.  d, n: head size and keys.
    """

    def __init__(self, problem: Problem, head: Head, rows: Rows, arithmetic: Arithmetic, gamma: Accumulated) -> None:
        self.head, self.rows, self.arithmetic, self.gamma = head, rows, arithmetic, gamma
        factors, sums = arithmetic.factors, arithmetic.sums
        self.f, self.s = (2.0**-format_.precision for format_ in (factors, sums))
        self.carrier = 2.0**-53 if arithmetic.dtype == np.float64 else 2.0**-24
        self.narrowed = self.f if factors != sums else 0.0
        self.exact = int(arithmetic.keeps_sums and 2 * factors.precision <= sums.precision)
        self.tiny = factors.smallest + sums.smallest
        self.lowest = -log(factors.smallest)
        self.d, self.n = head.q.shape[1], head.columns
        self.queries = head.q.shape[0]
        self.q, self.k = head.q[rows], head.k
        self.attended: BoolArray = head.attended(rows)
        self.values = float(np.abs(head.v).max(initial=0.0)) / (1.0 - head.dropout)
        self.scale = head.float_scale
        self.scale_error, self.scale_rounds = _held_scale(head.scale, self.d, sums)
        prefixes = problem.prefixes
        self.causal = problem.causal if prefixes is None else prefixes.shifts is not None
        self.before = prefixes.before if prefixes is not None and self.causal else 0
        self.logits: Float64Array = head.logits(rows)
        # |scale| sum_i |q_i k_i|, and L, the same with what is added to it
        self.product_sizes: Float64Array = head.logit_sizes(rows)
        nothing = head.bias is None and head.slope is None and head.sink is None
        self.added: Float64Array = np.zeros((1, 1)) if nothing else head.added_sizes(rows)
        self.size: Float64Array = self.product_sizes if nothing else self.product_sizes + self.added

    def chunks(self, count: int) -> int:
        """Return in how many chunks a running state takes in the keys: those before the first query, and the others."""
        if not self.causal:
            return ceil(self.n / count)
        return ceil(self.before / count) + ceil(int(self.queries) / count)

    def inside(self, count: int) -> BoolArray:
        """Return which keys of a causal problem come in a query's own chunk, [rows, n_k]."""
        positions = self.head.attendance.positions
        shift = int(positions[0]) + (self.head.attendance.reach or 0) if len(positions) else 0
        own = np.arange(self.n) - shift
        return np.asarray((own >= 0) & (self.rows[:, None] // count == own // count))

    def moved_logits(self, *, scaled_before: bool = False) -> Float64Array:
        """Return a bound on what rounding does to a logit.

        A sum of d products, times a scale that is off by itself: of the d + 1 roundings those fall away that are exact,
        of products where sums hold them, and of a product with a power of two.  scaled_before: q is multiplied by the
        scale, and rounded to factors, before the products.
        """
        count = max(0, self.d - self.exact)
        if scaled_before:
            relative = (1.0 + self.gamma(count, self.s)) * (1.0 + self.scaled_query()) - 1.0
        else:
            relative = (1.0 + self.gamma(count + self.scale_rounds, self.s)) * (1.0 + self.scale_error) - 1.0
        underflow = (self.d + 1) * self.tiny * (1 + abs(self.scale)) * (1 + self.components())
        moved = relative * self.product_sizes + underflow
        return self._moved_when_adjusted(np.asarray(moved))

    def _moved_when_adjusted(self, moved: Float64Array) -> Float64Array:
        """Return what rounding does to logits that are capped, or added to, after they were off by so much.

        c tanh(s / c) passes an error on and never adds to it, in s or, relatively, in c: its slopes are 1 at most.  It
        takes a division, tanh and a product, each relative to |c tanh(s / c)| <= min(|s|, c), and c is rounded once.  A
        bias, a slope and a distance are rounded once each, slope times distance once, and either sum once.
        """
        head = self.head
        if head.softcap is not None:
            capped = np.minimum(self.product_sizes + moved, head.softcap)
            relative = (1.0 + self.s) ** 3 * (1.0 + self.library(self.s)) * (1.0 + 2 * self.s) - 1.0
            moved = moved + relative * capped + 3 * self.tiny * (1.0 + head.softcap)
        if head.bias is not None or head.slope is not None or head.sink is not None:
            roundings = 1.0 + (head.bias is not None) + 4.0 * (head.slope is not None)
            moved = moved * (1.0 + self.s) ** 2 + self.gamma(roundings, self.s) * self.size + 4 * self.tiny
        return moved

    def logit_doubt(self) -> Float64Array:
        """Return how far off the logits may be here, in float64."""
        return self.head.logit_doubt(self.rows)

    def scaled_query(self) -> float:
        """Return the relative error of a component of q that is multiplied by the scale and rounded to a factor."""
        roundings = (1.0 + self.gamma(1, self.s if self.narrowed else 0.0)) * (1.0 + self.gamma(1, self.f))
        return (1.0 + self.scale_error) * (roundings if self.scale_rounds else 1.0) - 1.0

    def components(self) -> float:
        """Return the largest component of a query or key of the head."""
        return float(max(np.abs(self.head.q).max(initial=0.0), np.abs(self.head.k).max(initial=0.0)))

    def library(self, unit: float) -> float:
        """Return the relative error of exp or log, worked out in the carrier and rounded to a format with that unit."""
        found = accumulated(LIBRARY, self.carrier)
        return (1.0 + found) * (1.0 + unit) - 1.0 if unit > self.carrier else found

    def exponentials(
        self, logits: Float64Array, exponent: Float64Array, shifted: Float64Array, doubt: float, spread: float
    ) -> WeightBound:
        """Return weights exp(l_t - top), top the largest l: a factor of the whole row cancels.

        exponent: how far log of a computed weight is off, but for what the whole row shares, which is at most shifted,
        [rows, 1].  doubt: how far off logits may be here.  Two positive numbers are no further apart than the larger.
        """
        below = logits - self.top(logits)
        weights = np.exp(below)
        change = np.fmin(weights * np.expm1(exponent), np.exp(below + exponent)) + 2 * self.tiny * np.exp(shifted)
        return WeightBound(weights, change, weights + change, spread, 4 * doubt + 2.0**-45, False)

    def weighing_doubt(self) -> float:
        """Return how far off logits may be here, but for those whose weights are next to nothing."""
        doubt = self.logit_doubt()
        nothing = self.logits - self.top(self.logits) + 2 * doubt < -_NOTHING
        return largest_of(np.where(self.attended & ~nothing, doubt, 0.0))

    def softmax_exponents(
        self, logits: Float64Array, moved: Float64Array, doubt: float
    ) -> tuple[Float64Array, Float64Array]:
        """Return how far off log of a weight is, and the shift of a row, where exp follows on logits off by `moved`.

        The largest logit is subtracted, which is off by no more than those logits that may be the largest, shared by
        the row, and rounded once; exp adds its own error, and the weight is rounded to a factor.  No more counts of a
        difference than what underflows.
        """
        off = moved + doubt
        high = np.where(self.attended, logits - off, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
        contending = self.attended & ~(logits + off < high)
        shifted = np.where(contending, moved, 0.0).max(axis=1, keepdims=True, initial=0.0)
        below = np.maximum(self.top(logits) - logits, 0.0) + moved + shifted
        exponent = moved + self.s * np.minimum(below, 2 * self.lowest) + self.library(self.s) + self.narrowed
        return exponent, shifted

    def top(self, logits: Float64Array) -> Float64Array:
        """Return the largest attended of some logits of each row, [rows, 1]; 0 where nothing is."""
        top = np.where(self.attended, logits, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
        return np.where(np.isfinite(top), top, 0.0)

    def overflows(self, added: float, *, sums: float = 0.0, factors: float = 1.0) -> bool:
        """Return whether something may exceed the largest number: twice what is expected leaves room for errors.

        added: a sum of weights or features, which comes with values of v too.  sums, factors: other numbers in those
        formats.  Components are taken to be multiplied by the scale in either.
        """
        arithmetic, components = self.arithmetic, self.components() * max(1.0, abs(self.scale))
        of_sums = [added * max(1.0, self.values), sums, components]
        fits = [2 * x <= arithmetic.sums.largest for x in of_sums]  # NaN does not
        fits += [2 * x <= arithmetic.factors.largest for x in (factors, components)]
        return not all(fits) or not self._adds_up()

    def _adds_up(self) -> bool:
        """Return whether what is added to logits stays among the numbers of sums.

        A bias may be the lowest number itself if logits are below half a unit of its last place, as its sum is then.
        """
        added, sums = float(self.added.max(initial=0.0)), self.arithmetic.sums
        if not added:
            return True
        last_place = 2.0 ** (frexp(sums.largest)[1] - sums.precision)
        others = 2 * float(self.product_sizes.max(initial=0.0))
        alone = self.head.slope is None and added <= sums.largest and others <= last_place / 2
        return alone or 2 * added + others <= sums.largest

    def products(self) -> float:
        """Return the largest sum_i |q_i k_i|, or that scaled: it is added up before it is scaled, attended or not."""
        largest = (np.abs(self.q) @ np.abs(self.k).T).max(initial=0.0)
        return float(largest) * max(1.0, abs(self.scale))

    def largest_attended(self, pairs: Float64Array) -> float:
        """Return the largest of those numbers whose query sees the key."""
        return largest_of(np.where(self.attended, pairs, 0.0))


def largest_of(numbers: Float64Array, least: float = 0.0) -> float:
    """Return the largest of some numbers and another one; infinite if one is NaN, which `max` may pass over."""
    return float(np.where(np.isnan(numbers), np.inf, numbers).max(initial=least))


def relative_error(x: Fraction, held: float) -> float:
    """Return |held - x| / |x| rounded up, 0 where both are 0: how far off a constant is that a format holds."""
    if x == 0:
        return 0.0
    if not np.isfinite(held):
        return float("inf")
    return float(abs(Fraction(held) - x) / abs(x)) * (1.0 + 2.0**-50)


def _held_scale(scale: float | None, head_size: int, sums: Format) -> tuple[float, int]:
    """Return the relative error of the scale as sums hold it, and 0 if it is a power of two, else 1.

    1/sqrt(d) is a square root and a division, each rounded: h; with h^2 d = 1 + t, h is off by t / (1 + sqrt(1 + t)).
    """
    if scale is not None:
        held = float(sums.rounded(np.asarray(scale)).astype(np.float64))
        error = relative_error(Fraction(scale), held)
    else:
        root = sums.rounded(np.asarray(sqrt(head_size))).astype(np.float64)
        held = float(sums.rounded(1.0 / root).astype(np.float64))
        excess = float(Fraction(held) ** 2 * head_size - 1)
        error = abs(excess / (1.0 + sqrt(1.0 + excess))) * (1.0 + 2.0**-50)
    return error, 0 if abs(frexp(held)[0]) in (0.0, 0.5) else 1
