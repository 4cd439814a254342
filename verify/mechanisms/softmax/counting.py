"""Operations of conventional attention, counted while it runs."""

from __future__ import annotations

import numpy as np

from verify.mechanisms.softmax.forms import softmax
from verify.mechanisms.softmax.mechanism import SOFTMAX
from verify.numbers.counted import CountingArithmetic, Operations
from verify.problem import Problem


def softmax_operations(tokens: int, head_size: int, value_size: int) -> Operations:
    """Return what one query over so many keys took of conventional attention, counted while it ran."""
    arithmetic = CountingArithmetic()
    rng = np.random.default_rng(27)
    q, k, v = (rng.standard_normal(shape) for shape in ((1, head_size), (tokens, head_size), (tokens, value_size)))
    softmax(Problem(q, k, v), arithmetic, SOFTMAX.member())
    return arithmetic.tally.taken()
