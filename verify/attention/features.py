"""Symmetric features in blocks that stay in the cache: the highest degree is never held as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.arithmetic import Arithmetic
from verify.basis import slices

# Numbers in one block of features: 2**18 of float32 are 1 MiB.
BLOCK_NUMBERS = 1 << 18


class FeatureMap:
    """Phi_0 .. Phi_order of SA (10) for up to so many tokens of several heads at once, with buffers that are kept.

    Every product is rounded to the arithmetic's factors.  Rows are numbered through all degrees, C(d_k + order, order)
    in all, in the order of `verify.basis`.
    """

    def __init__(self, arithmetic: Arithmetic, heads: int, head_size: int, order: int, tokens: int) -> None:
        self.arithmetic = arithmetic
        self.head_size = head_size
        self.order = order
        self.rows = max(1, BLOCK_NUMBERS // max(1, heads * tokens))
        # degrees below the highest are whole: each is multiplied to the next
        sizes = [comb(head_size + degree - 1, degree) for degree in range(order + 1)]
        sizes[order] = min(self.rows, sizes[order])
        self.buffers = [np.empty((heads, size, tokens), dtype=arithmetic.dtype) for size in sizes]
        self.buffers[0][...] = arithmetic.as_input(np.ones(()))
        self.largest = max(sizes)

    def blocks(self, tokens: NDArray[Any]) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Yield (rows, features [H, rows, n]) for tokens [H, n, d_k].

        A block is overwritten when the next is asked for, and nothing may be written to it.
        """
        heads, count = tokens.shape[:2]
        components = np.ascontiguousarray(tokens.swapaxes(1, 2))[:, :, None, :]
        below = self.buffers[0][:heads, :, :count]
        yield slice(0, 1), below
        first = 1
        for degree in range(1, self.order):
            features = self.buffers[degree][:heads, :, :count]
            for rows, source, j in slices(self.head_size, degree):
                self._multiply(below[:, source], components[:, j], features[:, rows])
            yield slice(first, first + features.shape[1]), features
            first += features.shape[1]
            below = features
        if self.order:
            yield from self._highest(below, components, first)

    def _highest(
        self, below: NDArray[Any], components: NDArray[Any], first: int
    ) -> Iterator[tuple[slice, NDArray[Any]]]:
        features = self.buffers[self.order][: len(below), :, : below.shape[-1]]
        room = features.shape[1]
        filled = 0
        for _, source, j in slices(self.head_size, self.order, self.rows):
            start, stop = source.start, source.stop
            while start < stop:
                count = min(stop - start, room - filled)
                target = features[:, filled : filled + count]
                self._multiply(below[:, start : start + count], components[:, j], target)
                start += count
                filled += count
                if filled == room:
                    yield slice(first, first + filled), features
                    first += filled
                    filled = 0
        if filled:
            yield slice(first, first + filled), features[:, :filled]

    def _multiply(self, below: NDArray[Any], component: NDArray[Any], out: NDArray[Any]) -> None:
        np.multiply(below, component, out=out)
        settled = self.arithmetic.as_factor(out)
        if settled is not out:
            out[...] = settled
