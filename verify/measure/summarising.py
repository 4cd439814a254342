"""Making summaries of errors: over elements, over rows, and beside their bounds."""

from __future__ import annotations

import numpy as np

from verify.measure.metrics import bits_of_error, correct_digits, magnitudes, ratio, root_mean_square, row_cosines
from verify.measure.summary import BINS, BoundSummary, ErrorSummary, RowSummary
from verify.numbers.arrays import BoolArray, Float64Array
from verify.numbers.formats import Format

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_BAND = (0.05, 0.5, 0.95)


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


def summarise_bound(error: Float64Array, bound: Float64Array, size: float) -> BoundSummary:
    """Summarise a bound and the error that has to lie under it; an error that is NaN exceeds every finite bound."""
    finite = np.isfinite(bound)
    size_of = magnitudes(error)
    with np.errstate(all="ignore"):
        shares = np.where(size_of == 0.0, 0.0, size_of / bound)[finite]
    relative = ratio(root_mean_square(magnitudes(bound)), size) or 0.0
    return BoundSummary(relative, float(shares.max(initial=0.0)), int(np.count_nonzero(~finite)))
