"""Summaries of errors: over elements, over rows, and beside their bounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verify.measure.metrics import bits_of_error, correct_digits, magnitudes, ratio, root_mean_square, row_cosines
from verify.numbers.arrays import BoolArray, Float64Array
from verify.numbers.formats import Format

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_BAND = (0.05, 0.5, 0.95)

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

    head: its leading dimensions.  largest_logit: the largest attended |logit|.  rows: those that attend to something;
    nonpositive: those among them whose exact sum of weights Z is <= 0.  formula: None for softmax itself.
    softmax_rounding: rounding of the conventional softmax in the same arithmetic.
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


def summarise(
    error: Float64Array,
    found: Float64Array,
    origin: Float64Array,
    size: float,
    format_: Format,
    radius: Float64Array | float = 0.0,
) -> ErrorSummary:
    """Summarise the error of found against origin.

    size: the root mean square of the exact softmax output.  radius: how far off the exact value may be, which matters
    where the error is no larger.
    """
    magnitude = magnitudes(error)
    quantiles = np.quantile(magnitude, QUANTILES, method="inverted_cdf").tolist()
    bits = bits_of_error(found, origin, format_)
    digits = correct_digits(magnitude, origin)
    rms = root_mean_square(magnitude)
    q05, q25, q50, q75, q95, q99 = quantiles
    return ErrorSummary(
        max=float(magnitude.max()),
        q05=q05,
        q25=q25,
        q50=q50,
        q75=q75,
        q95=q95,
        q99=q99,
        rms=rms,
        relative=ratio(rms, size) or 0.0,  # no error at all is none of anything
        bits_mean=float(bits.mean()),
        bits_max=float(bits.max()),
        digits_min=float(digits.min()),
        digits_median=float(np.quantile(digits, 0.5, method="inverted_cdf")),
        unresolved=int(np.count_nonzero((magnitude <= radius) & (np.asarray(radius) > 0.0) & (found != origin))),
    )


def histogram(error: Float64Array) -> tuple[tuple[int, int], ...]:
    """Return (k, how many) for the elements with 10^(k / BINS) <= |e| < 10^((k + 1) / BINS), those with any.

    Errors that are zero, NaN or infinite are in no bin.
    """
    size = magnitudes(error)
    bins = np.floor(BINS * np.log10(size[(size > 0.0) & np.isfinite(size)])).astype(np.int64)
    places, counts = np.unique(bins, return_counts=True)
    return tuple(zip(places.tolist(), counts.tolist(), strict=True))


def compare_rows(found: Float64Array, error: Float64Array, exact: Float64Array, rows: BoolArray) -> RowSummary:
    """Compare output rows [..., n_q, d_v]; rows [..., n_q]: those that attend to something."""
    cosines = row_cosines(found[rows], exact[rows])
    positions = np.broadcast_to(np.arange(rows.shape[-1]), rows.shape)[rows]
    size = magnitudes(error[rows])
    spans = []
    first = 0
    while first < rows.shape[-1]:
        last = min(max(2 * first - 1, first), rows.shape[-1] - 1)
        chosen = (positions >= first) & (positions <= last)
        if chosen.any():
            low, middle, high = np.quantile(size[chosen], _BAND, method="inverted_cdf").tolist()
            spans.append((first, last, root_mean_square(size[chosen]), low, middle, high))
        first = last + 1
    return RowSummary(float(cosines.mean()), float(cosines.min()), tuple(spans))


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


def summarise_bound(error: Float64Array, bound: Float64Array, size: float) -> BoundSummary:
    """Summarise a bound and the error that has to lie under it; an error that is NaN exceeds every finite bound."""
    finite = np.isfinite(bound)
    size_of = magnitudes(error)
    with np.errstate(all="ignore"):
        shares = np.where(size_of == 0.0, 0.0, size_of / bound)[finite]
    relative = ratio(root_mean_square(magnitudes(bound)), size) or 0.0
    return BoundSummary(relative, float(shares.max(initial=0.0)), int(np.count_nonzero(~finite)))
