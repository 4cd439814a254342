"""How large errors can be: bounds that hold before anything is measured, each with its source."""

from verify.bounds.logits import (
    deviation_range,
    output_bound,
    positivity_radius,
    relative_truncation,
    truncation_bound,
)
from verify.bounds.outputs import RoundingBound, rounding_bound
from verify.bounds.summary import BoundSummary, summarise_bound
from verify.bounds.unit import accumulated, accumulated_probably

__all__ = [
    "BoundSummary",
    "RoundingBound",
    "accumulated",
    "accumulated_probably",
    "deviation_range",
    "output_bound",
    "positivity_radius",
    "relative_truncation",
    "rounding_bound",
    "summarise_bound",
    "truncation_bound",
]
