"""A problem in plain values: what was read, for people and programs to compare with what they meant."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.problem.problem import Problem


def described(problem: Problem) -> dict[str, Any]:
    """Return what a problem is, as JSON holds it: sizes, rules with the range of their numbers, and what they leave.

    Parts that it does not have are None.  pairs: of a query and a key, over all heads, how many are seen.  blind_rows:
    queries that see nothing.  not_finite: by array, how many numbers are NaN or infinite where nothing attends.
    Memory grows with blocks of rows, never with all pairs.
    """
    seen, blind = _seen(problem)
    every = problem.heads * problem.queries * problem.keys
    segments = problem.segments
    grouped = problem.q.ndim > 2
    return {
        "batch": list(problem.q.shape[:-3]),
        "heads": int(problem.q.shape[-3]) if grouped else 1,
        "key_heads": int(problem.k.shape[-3]) if grouped else 1,
        "queries": problem.queries,
        "keys": problem.keys,
        "head_size": problem.head_size,
        "value_size": problem.value_size,
        "scale": f"1/sqrt({problem.head_size})" if problem.scale is None else problem.scale,
        "causal": problem.causal,
        "alignment": problem.alignment,
        "window": None if problem.window == (None, None) else list(problem.window),
        "lengths": _range(problem.lengths),
        "segments": None if segments is None else len(np.unique(np.concatenate([side.ravel() for side in segments]))),
        "positions": _range(problem.positions),
        "mask": None if problem.mask is None else list(problem.mask.shape),
        "pairs": {"seen": seen, "all": every, "share": seen / every if every else 0.0},
        "blind_rows": blind,
        "softcap": problem.softcap,
        "bias": _range(problem.bias),
        "alibi_slopes": _range(problem.alibi_slopes),
        "sinks": _range(problem.sinks),
        "dropout": None
        if problem.dropout_mask is None
        else {"probability": problem.dropout, "kept": float(problem.dropout_mask.mean())},
        **{f"{label}_descale": _range(getattr(problem, f"{label}_descale")) for label in "qkv"},
        "formats": dict(problem.formats),
        "not_finite": dict(problem.unseen),
        "digest": problem.digest,
    }


def _range(array: NDArray[Any] | None) -> dict[str, Any] | None:
    """Return the least and the largest number of an array; None without one."""
    if array is None or not array.size:
        return None
    return {"least": array.min().item(), "most": array.max().item()}


def _seen(problem: Problem) -> tuple[int, int]:
    """Return how many pairs are seen, and how many rows see nothing; heads that share a mask are counted once."""
    mask = problem.mask
    shared = mask is None or mask.ndim < 3 or mask.shape[-3] == 1
    counts: dict[tuple[int, ...], int] = {}
    seen = 0
    for head in problem.each_head():
        place = head.index[:-1] if shared else head.index
        if place not in counts:
            counts[place] = head.attendance.pairs
        seen += counts[place]
    return seen, int((~problem.attended_rows).sum())
