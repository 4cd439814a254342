"""Symmetric features in blocks that stay in the cache: the highest degree is never held as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.families.polynomial.basis import slices
from verify.numbers.arithmetic import Arithmetic

# Numbers in one block of features: 2**18 of float32 are 1 MiB.
BLOCK_NUMBERS = 1 << 18

# Rows from which a slice of the highest degree is left as a product: below, multiplying it out is quicker than a matrix
# product of its own.
FACTORED_ROWS = 192


@dataclass(frozen=True)
class FeatureBlock:
    """Some features of several heads' tokens.

    degree, rows: which; rows are numbered through all degrees.  features: [H, rows, n].  factor: [H, n], by which these
    have still to be multiplied, or None.
    """

    degree: int
    rows: slice
    features: NDArray[Any]
    factor: NDArray[Any] | None = None


class FeatureMap:
    """Phi_0 .. Phi_order of SA (10) for up to so many tokens of several heads at once, with buffers that are kept.

    Rows are numbered through all degrees, C(d_k + order, order) in all, in the order of
    `verify.families.polynomial.basis`.  Every product is rounded to the arithmetic's factors.

    Where nothing is rounded but by the carrier, long slices of the highest degree come as features of the degree below
    and the factor x_j: sum_t (Phi(k_t) x_j) v_t = sum_t Phi(k_t) (x_j v_t) needs d_k products of v instead of C(d_k +
    order - 1, order) of features.  Features in a narrower format forbid that; formed: forbids it too.

    watch: count the features formed that overflow or underflow, in overflowed and underflowed.
    """

    def __init__(
        self,
        arithmetic: Arithmetic,
        heads: int,
        head_size: int,
        order: int,
        tokens: int,
        *,
        formed: bool = False,
        watch: bool = False,
    ) -> None:
        self.arithmetic = arithmetic
        self.head_size = head_size
        self.order = order
        carried = arithmetic.keeps_factors and arithmetic.keeps_sums
        self.watch = watch
        self.overflowed = self.underflowed = 0
        self.factored_rows = FACTORED_ROWS if carried and not formed else None
        self.rows = max(1, BLOCK_NUMBERS // max(1, heads * tokens))
        # degrees below the highest are whole: each is multiplied to the next
        sizes = [comb(head_size + degree - 1, degree) for degree in range(order + 1)]
        sizes[order] = min(self.rows, sizes[order])
        self.buffers = [np.empty((heads, size, tokens), dtype=arithmetic.dtype) for size in sizes]
        self.buffers[0][...] = arithmetic.as_input(np.ones(()))
        self.components = [np.empty((heads, head_size, 1, tokens), arithmetic.dtype) for _ in range(max(1, order))]

    def blocks(self, tokens: NDArray[Any], share: float = 0.0) -> Iterator[FeatureBlock]:
        """Yield the features of tokens [H, n, d_k], row after row.

        share: the part of the coefficient C_p / p! = 1 / (product of the factorials of the exponents) that they carry,
        0, 1/2 (its square root) or 1.  x_j enters as x_j / e**share where it gets its exponent e, so that coefficients
        cost nothing per monomial.  A block is overwritten when the next is asked for, and nothing may be written to it.
        """
        heads, count = tokens.shape[:2]
        components = self._components(tokens, share)
        below = self.buffers[0][:heads, :, :count]
        yield FeatureBlock(0, slice(0, 1), below)
        first = 1
        for degree in range(1, self.order):
            features = self.buffers[degree][:heads, :, :count]
            for rows, source, j, exponent in slices(self.head_size, degree, by_exponent=share > 0):
                self._multiply(below[:, source], components[exponent - 1][:, j], features[:, rows])
            yield FeatureBlock(degree, slice(first, first + features.shape[1]), features)
            first += features.shape[1]
            below = features
        if self.order:
            yield from self._highest(below, components, first, share)

    def _components(self, tokens: NDArray[Any], share: float) -> list[NDArray[Any]]:
        """Return x_j / e**share for e = 1, 2 ..., as far as they are needed: arrays [H, d_k, 1, n]."""
        found = [component[: len(tokens), :, :, : tokens.shape[1]] for component in self.components]
        found[0][...] = tokens.swapaxes(1, 2)[:, :, None, :]
        if not share:
            return found[:1]
        divisors = self.arithmetic.as_constant(np.arange(2, self.order + 1, dtype=np.float64) ** share)
        for divisor, component in zip(divisors, found[1:], strict=True):
            np.divide(found[0], divisor, out=component)
            self._settle(component)
        return found

    def _highest(
        self, below: NDArray[Any], components: list[NDArray[Any]], first: int, share: float
    ) -> Iterator[FeatureBlock]:
        buffer = self.buffers[self.order][: len(below), :, : below.shape[-1]]
        room = buffer.shape[1]
        filled = 0
        for _, source, j, exponent in slices(self.head_size, self.order, by_exponent=share > 0):
            component = components[exponent - 1][:, j]
            start, stop = source.start, source.stop
            if self.factored_rows is not None and stop - start >= self.factored_rows:
                if filled:
                    yield FeatureBlock(self.order, slice(first, first + filled), buffer[:, :filled])
                    first, filled = first + filled, 0
                rows = slice(first, first + stop - start)
                yield FeatureBlock(self.order, rows, below[:, source], component[:, 0])
                first = rows.stop
                continue
            while start < stop:
                count = min(stop - start, room - filled)
                target = buffer[:, filled : filled + count]
                self._multiply(below[:, start : start + count], component, target)
                start += count
                filled += count
                if filled == room:
                    yield FeatureBlock(self.order, slice(first, first + filled), buffer)
                    first, filled = first + filled, 0
        if filled:
            yield FeatureBlock(self.order, slice(first, first + filled), buffer[:, :filled])

    def _multiply(self, below: NDArray[Any], component: NDArray[Any], out: NDArray[Any]) -> None:
        np.multiply(below, component, out=out)
        self._settle(out)
        if self.watch:
            self.overflowed += int(np.count_nonzero(~np.isfinite(out)))
            small = np.abs(out) < 2.0**self.arithmetic.factors.min_exponent
            self.underflowed += int(np.count_nonzero(small & (below != 0) & (component != 0)))

    def _settle(self, values: NDArray[Any]) -> None:
        """Round results of the carrier to factors, in place."""
        settled = self.arithmetic.as_factor(values)
        if settled is not values:
            values[...] = settled


def factored_slices(head_size: int, order: int, *, by_exponent: bool) -> list[int]:
    """Return the lengths of the slices of the highest degree that come with a factor where they may."""
    if not order:
        return []
    lengths = [rows.stop - rows.start for rows, *_ in slices(head_size, order, by_exponent=by_exponent)]
    return [length for length in lengths if length >= FACTORED_ROWS]
