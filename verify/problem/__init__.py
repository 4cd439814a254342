"""One attention problem, and its heads."""

from verify.problem.attendance import ALIGNMENTS, Attendance
from verify.problem.description import described
from verify.problem.head import Head, float_scale
from verify.problem.problem import PARTS, Problem, require_problem

__all__ = ["ALIGNMENTS", "PARTS", "Attendance", "Head", "Problem", "described", "float_scale", "require_problem"]
