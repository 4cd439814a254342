"""Running a form for some rows of a problem, no more pairs of a query and a key at a time than fit into memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.attention.hazards import Hazards
from verify.attention.operands import operands
from verify.attention.variant import Variant
from verify.numbers.arithmetic import Arithmetic
from verify.problem import Problem
from verify.problem.rows import rows_at_once
from verify.problem.selection import of_rows


@dataclass(frozen=True, eq=False)
class Computed:
    """Computed rows of an output.

    value: [..., H, r, d_v] in the arithmetic's format.  hazards: of everything that was computed.  seconds: that
    computing all rows took; None if some were not computed.
    """

    value: NDArray[Any]
    hazards: Hazards
    seconds: float | None


def run_rows(
    variant: Variant, problem: Problem, rows: Sequence[int], arithmetic: Arithmetic, **limits: Any
) -> Computed:
    """Compute some rows of a problem: by themselves, a strip at a time, if the form goes row by row, or else all.

    Takes and raises what `Variant.run` does.
    """
    everything = len(rows) == problem.queries
    step = rows_at_once(problem, problem.heads * problem.keys)
    if not variant.how.by_row or (everything and len(rows) <= step):
        started = perf_counter()
        output = variant.run(problem, arithmetic, **limits)
        seconds = perf_counter() - started
        value = output.value if everything else output.value[..., np.asarray(rows), :]
        return Computed(value, output.hazards, seconds)
    refusal = variant.refusal(problem)  # of the problem as it is
    if refusal is not None:
        raise refusal
    values, seconds, hazards = [], 0.0, Hazards()
    for first in range(0, len(rows), step):
        part = of_rows(problem, rows[first : first + step])
        started = perf_counter()
        output = variant.run(part, arithmetic, **limits)
        seconds += perf_counter() - started
        values.append(output.value)
        hazards = added(hazards, output.hazards)
    saturated = operands(problem, arithmetic).saturated  # every strip counts those of the keys
    hazards = replace(hazards, saturated_inputs=saturated)
    return Computed(np.concatenate(values, axis=-2), hazards, seconds if everything else None)


def added(one: Hazards, other: Hazards) -> Hazards:
    """Return the hazards of two strips together."""
    return Hazards(*(a + b for a, b in zip(astuple(one), astuple(other), strict=True)))
