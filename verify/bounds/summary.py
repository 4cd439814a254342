"""A measured error beside its bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verify.measure.metrics import magnitudes, ratio, root_mean_square
from verify.numbers.arrays import Float64Array


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
        shares = np.where(size_of == 0.0, 0.0, size_of / bound)
    shares = np.where(np.isnan(shares), np.inf, shares)[finite]
    relative = ratio(root_mean_square(bound), size) or 0.0
    return BoundSummary(relative, float(shares.max(initial=0.0)), int(np.count_nonzero(~finite)))
