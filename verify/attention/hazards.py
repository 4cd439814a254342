"""What went wrong in a run without stopping it: counted, and never replaced by another value."""

from __future__ import annotations

from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class Hazards:
    """Counts of one computed attention output.

    nonpositive_rows: rows that attend to something and whose computed sum of weights Z is no positive finite number.
    nonfinite_elements: elements of the output, in such or other rows, that are NaN or infinite.  nonfinite_state:
    numbers of the running state that are NaN or infinite.  lost_additions: additions of something other than zero, to
    the running state or to the sums over keys, that left a sum exactly as it was; some are harmless (a small term
    beside a large sum), a count that stagnates is not.  Where a library adds up a matrix product, none are known.
    underflowed_state: sums that are not zero and below the smallest normal number of their storage.  saturated_inputs:
    inputs that the arithmetic holds as its largest number although they are larger.
    overflowed_features: features that came out beyond the largest number of their format (NaN in a format without
    infinities); underflowed_features: those below the smallest normal one although no factor was zero; both
    counted where asked for.
    """

    nonpositive_rows: int = 0
    nonfinite_elements: int = 0
    nonfinite_state: int = 0
    lost_additions: int = 0
    underflowed_state: int = 0
    saturated_inputs: int = 0
    overflowed_features: int = 0
    underflowed_features: int = 0

    def __bool__(self) -> bool:
        """Whether there are any."""
        return any(astuple(self))


NONE = Hazards()
