"""What stands in for exp inside a kernel, judged by itself: polynomials, tables and functions."""

from verify.ingredients.judgement import Judgement, judge
from verify.ingredients.target import Target, read_base, read_target

__all__ = ["Judgement", "Target", "judge", "read_base", "read_target"]
