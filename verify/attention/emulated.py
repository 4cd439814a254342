"""Sums in a format that the machine does not add in: every addition is rounded by itself, and takes its time."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from verify.errors import TooLargeError
from verify.integers import how_many
from verify.numbers.arithmetic import Arithmetic
from verify.problem import Problem

# Additions that are rounded one by one, how many a second, and how many take as long as going to the next feature does:
# up to ten seconds.
EMULATED_ADDITIONS = 150_000_000
PER_SECOND = 20_000_000
PER_STEP = 700


def check_additions(additions: int, steps: int, arithmetic: Arithmetic, remedy: str) -> None:
    """Raise TooLargeError if so many additions to sums, in an arithmetic that rounds each by itself, are too many.

    steps: how many times a feature is gone through, whatever the additions each time.
    """
    work = additions + PER_STEP * steps
    if arithmetic.keeps_sums or work <= EMULATED_ADDITIONS:
        return
    took, most = (how_many(-(-count // PER_SECOND), "second") for count in (work, EMULATED_ADDITIONS))
    raise TooLargeError(
        f"{additions:,} additions to round one by one in {arithmetic.name}, in {steps:,} steps: about {took}",
        f"what takes at most {most}",
        f"{remedy}, take fewer tokens (--tokens), or an arithmetic that adds in float32 (--arithmetic)",
    )


def check_sums(sums: NDArray[Any], chunk: int, problem: Problem, arithmetic: Arithmetic, remedy: str) -> None:
    """Raise TooLargeError if adding every key to its state, and reading it for every query, take too long.

    sums: [states, m, d_v + 1].  chunk: queries that read at once, each time going through all features.
    """
    states, features, size = sums.shape
    additions = features * size * (states * problem.keys + problem.heads * problem.queries)
    check_additions(additions, features * problem.heads * -(-problem.queries // chunk), arithmetic, remedy)
