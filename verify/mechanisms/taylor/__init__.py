"""Taylor attention (SA)."""

from verify.mechanisms.taylor.truncation import (
    deviation_range,
    output_bound,
    positivity_radius,
    relative_truncation,
)

__all__ = ["deviation_range", "output_bound", "positivity_radius", "relative_truncation"]
