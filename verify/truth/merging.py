"""Attention over parts of the keys, put together by the logarithms of their sums of weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flint import arb

from verify.errors import InvalidRequestError
from verify.numbers.balls import Balls
from verify.numbers.precision import MAX_BITS, bits_for, flint_precision
from verify.problem import Problem
from verify.truth.enclosure import NOTHING_BITS
from verify.truth.reference import Reference

# Bits carried beyond the digits of the parts and of their logarithms.
_MORE = 64


def merged(parts: Sequence[Reference]) -> tuple[Balls, Balls]:
    """Return the outputs [..., H, n_q, d_v] over all keys of some problems, and the logarithms of sums [..., H, n_q].

    With l_p the logarithms of the parts: y = sum_p exp(l_p) y_p / sum_p exp(l_p), and l = log sum_p exp(l_p).  A part
    in which a row adds up nothing says nothing of that row; NaN where no part does, 0 for the output as everywhere.
    Sinks belong to one of the parts.  Raises InvalidRequestError for parts of other shapes, mechanisms, queries or
    scales, for sinks in more than one, and for rows without a logarithm.

        merged([reference(first_keys), reference(other_keys)])
    """
    shapes = {part.value.shape for part in parts}
    if not parts or len(shapes) > 1 or len({part.member for part in parts}) > 1:
        raise InvalidRequestError(
            f"{len(parts)} parts of shapes {sorted(map(list, shapes))}",
            "parts of one output, by one mechanism",
            "take the same queries over other keys",
        )
    _require_alike([part.problem for part in parts])
    outputs, logs = (np.empty(shape, dtype=object) for shape in (parts[0].value.shape, parts[0].value.shape[:-1]))
    before = max((abs(m).bit_length() for part in parts for m in part.logs.mantissa.flat), default=0)
    with flint_precision(min(MAX_BITS, bits_for(max(part.asked for part in parts)) + before + _MORE)):
        for row in np.ndindex(logs.shape):
            logs[row], outputs[row] = _row(parts, row)
    return Balls.of(outputs), Balls.of(logs)


def _require_alike(problems: Sequence[Problem]) -> None:
    """Raise InvalidRequestError for parts of which one asks something else than the first, or two have the sinks."""
    first = problems[0]
    for problem in problems:
        for name in ("q", "scale", "softcap", "dropout"):
            if not np.array_equal(getattr(problem, name), getattr(first, name)):
                raise InvalidRequestError(
                    f"parts with another {name}",
                    f"the same {name} in all of them",
                    "take the same queries over other keys",
                )
    sunk = sum(problem.sinks is not None for problem in problems)
    if sunk > 1:
        raise InvalidRequestError(
            f"sinks in {sunk} parts, which would count {sunk} times",
            "sinks in one of them",
            "leave them out of the others",
        )


def _row(parts: Sequence[Reference], row: tuple[int, ...]) -> tuple[arb, list[arb]]:
    size = parts[0].value.shape[-1]
    there = [part for part in parts if part.adds_up[row]]
    if not there:
        return arb.nan(), [arb(0)] * size
    known = [part.logs.ball(row) for part in there]
    if not all(log.is_finite() for log in known):
        raise InvalidRequestError(
            f"row {list(row)} without a logarithm of its sum of weights", "one that is positive", "take other keys"
        )
    top = max(log.mid() for log in known)
    weights = [(log - top).exp() for log in known]
    total = sum(weights, arb(0))
    values = [
        sum((w * part.balls.ball((*row, j)) for w, part in zip(weights, there, strict=True)), arb(0)) / total
        for j in range(size)
    ]
    nothing = arb(2) ** -NOTHING_BITS
    return total.log() + top, [arb(0, nothing) if not y.is_zero() and abs(y) < nothing else y for y in values]
