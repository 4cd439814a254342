"""What is kept of errors on some rows: enough for every summary, whatever rows are measured together.

Rows [H, r] are those of all heads, one after the other as leading dimensions go.  What is added up over rows is kept
row by row and added up once, in their order: a sum in float64 depends on how it is split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from verify.measure.counts import Counts
from verify.measure.metrics import bits_of_error, magnitudes, ratio, root_mean_square, row_cosines
from verify.measure.summary import BINS, BoundSummary, ErrorSummary, RowSummary
from verify.numbers.arrays import BoolArray, Float64Array
from verify.numbers.formats import Format

# Correct digits beyond these say nothing: more than any format here has.
MOST_DIGITS = 34.0

Kind = TypeVar("Kind", bound=np.generic)

Span = tuple[int, int]  # of positions, first and last


def by_rows(array: NDArray[Kind]) -> NDArray[Kind]:
    """Return an array [..., H, r] as [H, r]."""
    return array.reshape((prod(array.shape[:-1]), array.shape[-1]))


def row_sizes(size: Float64Array) -> Float64Array:
    """Return the root mean square of each row [..., d], scaled so that no square overflows or underflows."""
    largest = size.max(axis=-1, initial=0.0)
    plain = (largest == 0.0) | (largest == np.inf)
    with np.errstate(all="ignore"):
        shares = np.square(size / np.where(plain, 1.0, largest)[..., None])
        found: Float64Array = np.where(plain, largest, largest * np.sqrt(shares.mean(axis=-1)))
    return found


def along_rows(parts: Sequence[NDArray[Kind]]) -> NDArray[Kind]:
    """Return arrays [H, r, ...] of several blocks as one."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


@dataclass(frozen=True, eq=False)
class ErrorTally:
    """One error on some rows.

    size, bits: [H, r], the root mean square of |e| and the mean bits of error of each row.  sizes: of |e|, element by
    element, and shares: of |e| / |origin|, both in rows that attend to something.  bits_max, unresolved: as in
    `verify.measure.summary.ErrorSummary`.
    """

    size: Float64Array
    bits: Float64Array
    sizes: Counts
    shares: Counts
    bits_max: float
    unresolved: int

    @classmethod
    def of(
        cls,
        error: Float64Array,
        found: Float64Array,
        origin: Float64Array,
        doubt: Float64Array | float,
        rows: BoolArray,
        format_: Format,
    ) -> ErrorTally:
        """Take in the error of found against origin, [..., H, r, d]; rows [..., H, r]: those that count.

        doubt: how far off the error may be, which matters where it is no larger.
        """
        size = magnitudes(error)
        with np.errstate(all="ignore"):
            shares = size / np.abs(origin)
        shares = np.where(size == 0.0, 0.0, np.where(np.isnan(shares), np.inf, shares))
        bits = bits_of_error(found, origin, format_)
        open_ = (size <= doubt) & (np.asarray(doubt) > 0.0) & (found != origin)
        return cls(
            size=by_rows(row_sizes(size)),
            bits=by_rows(bits.mean(axis=-1)),
            sizes=Counts.of(size[rows]),
            shares=Counts.of(shares[rows]),
            bits_max=float(bits[rows].max(initial=0.0)),
            unresolved=int(np.count_nonzero(open_[rows])),
        )

    @classmethod
    def joined(cls, parts: Sequence[ErrorTally]) -> ErrorTally:
        """Return the tally of several blocks, in their order."""
        return cls(
            size=along_rows([part.size for part in parts]),
            bits=along_rows([part.bits for part in parts]),
            sizes=Counts.joined(part.sizes for part in parts),
            shares=Counts.joined(part.shares for part in parts),
            bits_max=max(part.bits_max for part in parts),
            unresolved=sum(part.unresolved for part in parts),
        )

    def summary(self, rows: BoolArray, size: float) -> ErrorSummary:
        """Return the summary; rows [H, r]: those that count; size: the root mean square of the exact softmax output."""
        rms = root_mean_square(self.size[rows])
        quantiles = {f"q{percent:02}": self.sizes.quantile(percent) for percent in (5, 25, 50, 75, 95, 99)}
        total = self.shares.total
        return ErrorSummary(
            max=self.sizes.largest,
            **quantiles,
            rms=rms,
            relative=ratio(rms, size) or 0.0,  # no error at all is none of anything
            bits_mean=float(self.bits[rows].mean()),
            bits_max=self.bits_max,
            digits_min=_digits(self.shares.largest),
            digits_median=_digits(self.shares.ranked(total - (total + 1) // 2 + 1)),
            unresolved=self.unresolved,
        )


def _digits(share: float) -> float:
    """Return -log10 of a share, between 0 and MOST_DIGITS."""
    return MOST_DIGITS if share == 0.0 else float(np.clip(-np.log10(share), 0.0, MOST_DIGITS))


@dataclass(frozen=True, eq=False)
class BoundTally:
    """A bound on an error of some rows.

    size: [H, r], the root mean square of the bound in each row.  share, unbounded: as in
    `verify.measure.summary.BoundSummary`.
    """

    size: Float64Array
    share: float
    unbounded: int

    @classmethod
    def of(cls, error: Float64Array, bound: Float64Array, rows: BoolArray) -> BoundTally:
        """Take in a bound and the error that has to lie under it; one that is NaN exceeds every finite bound."""
        own, size = bound[rows], magnitudes(error[rows])
        finite = np.isfinite(own)
        with np.errstate(all="ignore"):
            shares = np.where(size == 0.0, 0.0, size / own)[finite]
        unbounded = int(np.count_nonzero(~finite))
        return cls(by_rows(row_sizes(magnitudes(bound))), float(shares.max(initial=0.0)), unbounded)

    @classmethod
    def joined(cls, parts: Sequence[BoundTally]) -> BoundTally:
        """Return the tally of several blocks, in their order."""
        return cls(
            along_rows([part.size for part in parts]),
            max(part.share for part in parts),
            sum(part.unbounded for part in parts),
        )

    def summary(self, rows: BoolArray, size: float) -> BoundSummary:
        """Return the summary; rows [H, r]: those that count; size: the root mean square of the exact softmax output."""
        return BoundSummary(ratio(root_mean_square(self.size[rows]), size) or 0.0, self.share, self.unbounded)


@dataclass(frozen=True, eq=False)
class OutputTally:
    """Computed output rows beside exact ones.

    cosines: [H, r].  spans: first and last position of a span, and |e| of the elements there, in rows that attend to
    something.  histogram: (k, how many) elements of these rows with 10^(k / BINS) <= |e| < 10^((k + 1) / BINS), by k;
    errors that are zero, NaN or infinite are in no bin.
    """

    cosines: Float64Array
    spans: tuple[tuple[int, int, Counts], ...]
    histogram: tuple[tuple[int, int], ...]

    @classmethod
    def of(
        cls,
        found: Float64Array,
        error: Float64Array,
        exact: Float64Array,
        rows: BoolArray,
        positions: NDArray[np.int64],
        queries: int,
    ) -> OutputTally:
        """Take in outputs [..., H, r, d]; rows [..., H, r]: those that count; positions: of the r among the queries."""
        size = magnitudes(error)
        cosines = np.ones(rows.shape)
        cosines[rows] = row_cosines(found[rows], exact[rows])
        positive = size[rows]
        positive = positive[(positive > 0.0) & np.isfinite(positive)]
        chosen = [(span, rows & _inside(positions, span)) for span in spans_of(queries)]
        bins, counts = np.unique(np.floor(BINS * np.log10(positive)).astype(np.int64), return_counts=True)
        return cls(
            by_rows(cosines),
            tuple((*span, Counts.of(size[own])) for span, own in chosen if own.any()),
            tuple(zip(bins.tolist(), counts.tolist(), strict=True)),
        )

    @classmethod
    def joined(cls, parts: Sequence[OutputTally]) -> OutputTally:
        """Return the tally of several blocks, in their order."""
        spans: dict[Span, list[Counts]] = {}
        histogram: Counter[int] = Counter()
        for part in parts:
            for first, last, counts in part.spans:
                spans.setdefault((first, last), []).append(counts)
            histogram.update(dict(part.histogram))
        return cls(
            along_rows([part.cosines for part in parts]),
            tuple((*span, Counts.joined(own)) for span, own in sorted(spans.items())),
            tuple(sorted(histogram.items())),
        )

    def summary(self, rows: BoolArray, sizes: Float64Array, positions: NDArray[np.int64]) -> RowSummary:
        """Return the summary; rows [H, r]: those that count; sizes [H, r]: of the error; positions: of the r."""
        spans = []
        for first, last, counts in self.spans:
            own = rows & _inside(positions, (first, last))
            low, middle, high = (counts.quantile(percent) for percent in (5, 50, 95))
            spans.append((first, last, root_mean_square(sizes[own]), low, middle, high))
        cosines = self.cosines[rows]
        return RowSummary(float(cosines.mean()), float(cosines.min()), tuple(spans))


def _inside(positions: NDArray[np.int64], span: Span) -> BoolArray:
    return np.asarray((positions >= span[0]) & (positions <= span[1]))


def spans_of(queries: int) -> list[Span]:
    """Return the spans of positions 0, 1, 2-3, 4-7, ... of so many queries."""
    found, first = [], 0
    while first < queries:
        last = min(max(2 * first - 1, first), queries - 1)
        found.append((first, last))
        first = last + 1
    return found
