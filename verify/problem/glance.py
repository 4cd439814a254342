"""A problem in two lines: what it is made of, and no number of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from verify.integers import how_many

if TYPE_CHECKING:
    from verify.problem.problem import Problem

# Of a longer name that many characters are shown.
_NAME = 40


def glance(problem: Problem) -> str:
    """Return shapes, the types they were given in, bytes, and the other parts that there are."""
    shapes = ", ".join(f"{label} {list(getattr(problem, label).shape)}" for label in "qkv")
    kinds = ", ".join(dict.fromkeys(problem.formats.values()))
    size = how_many(sum(getattr(problem, label).nbytes for label in "qkv"), "byte")
    first = f"Problem({problem.name[:_NAME]!r}: {shapes}; given in {kinds}, {size} in float64"
    return f"{first},\n        {', '.join(_others(problem))})"


def _others(problem: Problem) -> Iterator[str]:
    yield f"scale {problem.scale!r}" if problem.scale is not None else f"scale 1/sqrt({problem.head_size})"
    if problem.causal:
        yield "causal"
    if problem.alignment is not None:
        yield problem.alignment
    if problem.window != (None, None):
        yield f"window {problem.window}"
    if problem.segments is not None:
        yield "segments"
    if problem.softcap is not None:
        yield f"softcap {problem.softcap!r}"
    for label in ("mask", "lengths", "positions", "bias", "alibi_slopes", "sinks", "dropout_mask"):
        part = getattr(problem, label)
        if part is not None:
            yield f"{label} {list(part.shape)}"
    yield from (label for label in ("q_descale", "k_descale", "v_descale") if getattr(problem, label) is not None)
