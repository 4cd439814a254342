"""How large errors can be: engines that turn what is known of weights into bounds on outputs, each with its source."""

from verify.bounds.kept import Kept, kept
from verify.bounds.logits import RatioTable, moved_by, output_bounds
from verify.bounds.outputs import RoundingBound, rounding_bound
from verify.bounds.pairs import Pairs, WeightBound
from verify.bounds.unit import accumulated, accumulated_probably

__all__ = [
    "Kept",
    "Pairs",
    "RatioTable",
    "RoundingBound",
    "WeightBound",
    "accumulated",
    "accumulated_probably",
    "kept",
    "moved_by",
    "output_bounds",
    "rounding_bound",
]
