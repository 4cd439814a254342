"""Summaries of errors and of weights, as data: what a record of a measurement keeps.

What makes them from arrays stands in `verify.measure.summarising` and `verify.measure.weights`, so that whoever reads
records needs neither.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# Bins of histograms for each power of ten
BINS = 4


@dataclass(frozen=True)
class ErrorSummary:
    """Statistics of one error over all elements of the rows that attend to something.

    max, q05 .. q99, rms: of |e|, in units of v; the quantiles are sample quantiles (inverted distribution function).
    relative: ||e||_2 / ||y||_2 with y the exact softmax output.
    bits_mean, bits_max: bits of error, log2(1 + steps in the arithmetic's format between the two values the error lies
    between); the width of the format where one is not finite.
    digits_min, digits_median: correct digits, -log10(|e| / |origin|), between 0 and MOST_DIGITS.
    unresolved: elements whose error is not above the radius of the exact value it is measured against, counted as 0.
    """

    max: float
    q05: float
    q25: float
    q50: float
    q75: float
    q95: float
    q99: float
    rms: float
    relative: float
    bits_mean: float
    bits_max: float
    digits_min: float
    digits_median: float
    unresolved: int


@dataclass(frozen=True)
class RowSummary:
    """How whole output rows compare with exact ones.

    cosine_mean, cosine_min: of the angle between computed and exact row, 1 if both are zero, and -1, the worst there
    is, where a row is not finite or only one of the two is zero.  by_position: of the queries in a span of positions
    (first, last), the root mean square of |e|, and |e| that 5, 50 and 95 % of the elements do not exceed.
    """

    cosine_mean: float
    cosine_min: float
    by_position: tuple[tuple[int, int, float, float, float, float], ...]


@dataclass(frozen=True)
class HeadSummary:
    """The errors of one head, each divided by the root mean square of that head's own exact softmax output.

    head: its leading dimensions.  largest_logit: the largest attended |logit|.  rows: rows that attend to something;
    nonpositive: rows whose exact sum of weights Z is <= 0.  formula: exact minus exact softmax, None for softmax
    itself; rounding: computed minus exact; quantisation: what rounding the inputs did to the exact value; total: the
    sum of these, computed minus exact softmax.  softmax_rounding: rounding of the conventional softmax in the same
    arithmetic.
    """

    head: tuple[int, ...]
    largest_logit: float
    rows: int
    nonpositive: int
    formula: float | None
    rounding: float
    quantisation: float
    total: float
    softmax_rounding: float


@dataclass(frozen=True)
class BoundSummary:
    """A bound over all elements of the rows that attend to something.

    relative: root mean square of the bound, divided by that of the exact softmax output; infinite if some element has
    none.  share: the largest |e| / bound where there is a bound: above 1, the bound is violated.  unbounded: elements
    without a bound.
    """

    relative: float
    share: float
    unbounded: int


@dataclass(frozen=True)
class Example:
    """The worst case of a hazard: the leading dimensions of its head, its query and, for one weight, its key.

    value: how bad: the weight, the sum of weights, or the cancellation.
    """

    head: tuple[int, ...]
    query: int
    key: int | None
    value: float


@dataclass(frozen=True)
class WeightSummary:
    """Exact weights of a member beside those of softmax, over all rows that attend to something.

    pairs: how many weights there are.  total_variation_mean, total_variation_max: of 1/2 sum_t |w_t / Z - p_t|, p the
    softmax weights; infinite where Z = 0 or a weight is not finite.  top_key_agreement: share of rows whose largest
    weight stands at a key where softmax has its own; of rows whose largest weights are too close to tell apart, that
    share of those which do.  top_key_undecided: rows in which two largest weights, of either, are too close to tell
    apart.

    negative: weights below zero.  tiny_rows: rows with Z <= 0 or |Z| < TINY sum_t |w_t|.  cancellation_weight: the
    largest sum_p |alpha_p s^p| / |sum_p alpha_p s^p|.  cancellation_row: the largest sum_t |w_t| / |Z|.  by_distance:
    (first, last, mean over rows of that part of the total variation which stands at keys so far from the query, softmax
    weight there).  examples: the worst case of each hazard that there is.
    """

    pairs: int
    total_variation_mean: float
    total_variation_max: float
    top_key_agreement: float
    top_key_undecided: int
    negative: int
    tiny_rows: int
    cancellation_weight: float
    cancellation_row: float
    by_distance: tuple[tuple[int, int, float, float], ...]
    examples: dict[str, Example] = field(default_factory=dict)
