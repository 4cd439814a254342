"""In which order the axes of an input file stand, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import InvalidRequestError, unknown
from verify.integers import how_many

LAYOUTS = {
    "bhsd": "[..., heads, tokens, size]",
    "bshd": "[..., tokens, heads, size]",
    "packed": "[tokens of all sequences, heads, size], with cu_seqlens",
}

Arrays = Mapping[str, NDArray[Any]]


def checked_layout(layout: str | None) -> str | None:
    """Return the name of a layout, or None."""
    if layout is not None and layout not in LAYOUTS:
        raise unknown(f"layout {layout!r}", layout, LAYOUTS)
    return layout


def heads_first(arrays: Arrays, layout: str | None) -> dict[str, NDArray[Any]]:
    """Return q, k, v and what has their axes as [..., heads, tokens, size].

    Raises InvalidRequestError for axes that the layout does not have, or, where none is said, that look swapped.
    """
    shapes = ", ".join(f"{name} {list(arrays[name].shape)}" for name in "qkv")
    for name, array in arrays.items():
        if array.ndim < 2:
            raise InvalidRequestError(
                f"{name} of shape {list(array.shape)}", "[..., tokens, size]", "give at least two dimensions"
            )
    if layout is None:
        if _looks_swapped(*(arrays[name].shape for name in "qkv")):
            raise InvalidRequestError(
                f"axes that may be [..., tokens, heads, size]: {shapes}",
                LAYOUTS["bhsd"] + ", or that the layout is said",
                "--layout bshd, or --layout bhsd if they are right",
            )
        return dict(arrays)
    if layout == "bhsd":
        return dict(arrays)
    for name, array in arrays.items():
        if array.ndim < 3 or (layout == "packed" and array.ndim != 3):
            raise InvalidRequestError(
                f"{name} of shape {list(array.shape)} in layout {layout}", LAYOUTS[layout], "correct --layout"
            )
    return {name: array.swapaxes(-2, -3) for name, array in arrays.items()}


def _looks_swapped(q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...]) -> bool:
    """Say whether heads and tokens of all three can be the other way round, and more heads than keys hint at it."""
    if not len(q) == len(k) == len(v) >= 3 or k[:-1] != v[:-1] or q[:-3] != k[:-3]:
        return False
    swapped = k[-2] > 0 and q[-2] % k[-2] == 0
    right = k[-3] > 0 and q[-3] % k[-3] == 0
    return swapped and (not right or k[-2] < k[-3])


def segments_of(
    offsets: Mapping[str, NDArray[Any]], largest: Mapping[str, int], tokens: Mapping[str, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return to which sequence the packed queries and keys belong.

    offsets: cu_seqlens, where the sequences start and, at the end, how many tokens there are; or cu_seqlens_q and
    cu_seqlens_k.  largest: max_seqlen_q and max_seqlen_k, if they are given.  tokens: n_q and n_k.
    """
    named = {"q": "cu_seqlens_q", "k": "cu_seqlens_k"}
    if set(offsets) == {"cu_seqlens"}:
        named = dict.fromkeys("qk", "cu_seqlens")
    elif set(offsets) != set(named.values()):
        raise InvalidRequestError(
            f"layout packed with {', '.join(offsets) or 'no cu_seqlens'}",
            "cu_seqlens, or cu_seqlens_q and cu_seqlens_k",
            "say where the sequences start",
        )
    lengths = {side: _lengths(named[side], offsets[named[side]], tokens[side]) for side in "qk"}
    if len(lengths["q"]) != len(lengths["k"]):
        raise InvalidRequestError(
            f"{how_many(len(lengths['q']), 'sequence')} of queries and {len(lengths['k'])} of keys",
            "as many of both",
            "correct cu_seqlens",
        )
    for side in "qk":
        most, said = int(lengths[side].max(initial=0)), largest.get(f"max_seqlen_{side}")
        if said is not None and said < most:
            raise InvalidRequestError(
                f"max_seqlen_{side} {said} with a sequence of {how_many(most, 'token')}",
                "at least the longest sequence",
                "correct it",
            )
    of_q, of_k = (np.repeat(np.arange(len(lengths[side])), lengths[side]) for side in "qk")
    return of_q, of_k


def _lengths(name: str, offsets: NDArray[Any], tokens: int) -> NDArray[np.int64]:
    expected = f"whole numbers that start at 0, never fall and end at the number of tokens, {tokens}"
    if offsets.ndim != 1 or offsets.dtype.kind not in "iu" or len(offsets) < 1:
        raise InvalidRequestError(
            f"{name} of type {offsets.dtype} and shape {list(offsets.shape)}", expected, "correct it"
        )
    starts = [int(offset) for offset in offsets]  # Python's integers do not wrap
    falling = any(after < before for before, after in pairwise(starts))
    if starts[0] != 0 or falling or starts[-1] != tokens:
        why = f"from {starts[0]} to {starts[-1]}" + (", falling on the way" if falling else "")
        raise InvalidRequestError(f"{name} {why}", expected, "correct it")
    return np.array([after - before for before, after in pairwise(starts)], dtype=np.int64)


def without_leading_ones(array: NDArray[Any], axes: int) -> NDArray[Any]:
    """Return an array without axes of size 1 in front of as many as it may have: they say nothing."""
    while array.ndim > axes and array.shape[0] == 1:
        array = array[0]
    return array


def require_clear_axes(name: str, array: NDArray[Any], pairs: tuple[int, ...]) -> None:
    """Raise InvalidRequestError if a mask or bias with fewer axes than pairs may belong to the batch.

    pairs: [batch, H, n_q, n_k].  [batch, n_k] broadcasts as [n_q, n_k] where there are as many queries as sequences,
    and [batch, n_q, n_k] as [H, n_q, n_k] where there are as many heads.
    """
    if len(pairs) < 4 or not 2 <= array.ndim < 4:
        return
    batch, shape = pairs[-4], list(array.shape)
    whose, meant = ("queries", "1, 1") if array.ndim == 2 else ("heads", "1")
    if shape[0] == batch > 1:
        told = f"[batch, {meant}, {', '.join(['queries', 'keys'][3 - array.ndim :])}]"
        raise InvalidRequestError(
            f"{name} of shape {shape}, whose first axis may be the batch or {whose}",
            f"four axes, as {told}, or [1, ...] where it is the same for all of the batch",
            "give it all axes",
        )
