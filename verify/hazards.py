"""What went wrong in a run without stopping it: counted, and never replaced by another value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hazards:
    """Counts of one computed attention output.

    nonpositive_rows: rows that attend to something and whose computed sum of weights Z is zero, negative or NaN.
    nonfinite_elements: elements of the output in such or other rows that are NaN or infinite.  nonfinite_state: numbers
    of the running state that are.  lost_additions: additions to the running state of something other than zero that
    left a sum exactly as it was; some are harmless (a small term beside a large sum), a count that stagnates is not.
    """

    nonpositive_rows: int = 0
    nonfinite_elements: int = 0
    nonfinite_state: int = 0
    lost_additions: int = 0

    def __bool__(self) -> bool:
        """Whether there are any."""
        return any((self.nonpositive_rows, self.nonfinite_elements, self.nonfinite_state, self.lost_additions))
