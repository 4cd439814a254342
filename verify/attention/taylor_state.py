"""Taylor attention with a state of fixed size: update with keys and values, read with queries, merge."""

from __future__ import annotations

from collections.abc import Iterator
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.arithmetic import Arithmetic
from verify.attention.features import BLOCK_NUMBERS, FeatureMap
from verify.basis import exponent_factorials
from verify.errors import InvalidRequestError, TooLargeError

SIDES = ("query", "key", "both")

# Tokens taken at once, unless fewer are given: matrix products of fewer do not reach the machine's speed.
CHUNK = 256

# What state, coefficients and buffers of features may take.
MEMORY_LIMIT = 512 * 2**20


class TaylorSums:
    """S = sum_t Phi(k_t) v_t^T and z = sum_t Phi(k_t) for several heads, SA (A2), all degrees up to the order.

    numerators: [H, m, d_v], normalisers: [H, m], m = C(d_k + order, order), in the arithmetic's sums.  The coefficient
    C_p / p! of a monomial stands on the side of the query, of the key, or its square root on both.
    """

    def __init__(
        self,
        arithmetic: Arithmetic,
        heads: int,
        head_size: int,
        value_size: int,
        order: int,
        *,
        chunk: int = CHUNK,
        side: str = "query",
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        """Raise TooLargeError before allocating anything if more than memory_limit bytes would be held."""
        if side not in SIDES:
            raise InvalidRequestError(f"coefficients on side {side!r}", "one of " + ", ".join(SIDES), "choose one")
        features = comb(head_size + order, order)
        below = comb(head_size + order - 1, max(0, order - 1))  # features of all degrees but the highest
        # state of all heads; coefficients and the integers they come from; buffers
        numbers = heads * features * (value_size + 1) + 3 * features + 2 * below * chunk
        check_memory(features, numbers, head_size, order, arithmetic, memory_limit)
        self.arithmetic = arithmetic
        self.heads, self.head_size, self.value_size, self.order, self.chunk = heads, head_size, value_size, order, chunk
        self.side = side
        self.numerators = np.zeros((heads, features, value_size), dtype=arithmetic.dtype)
        self.normalisers = np.zeros((heads, features), dtype=arithmetic.dtype)
        self.coefficients = _coefficients(head_size, order, arithmetic, rooted=side == "both")
        # heads that are small together share their blocks; a large one stands alone
        self.together = max(1, min(heads, BLOCK_NUMBERS // max(1, features * chunk)))
        self.map = FeatureMap(arithmetic, self.together, head_size, order, chunk)
        self.weighted = np.empty((self.together, self.map.largest, chunk), dtype=arithmetic.dtype)

    def add(self, k: NDArray[Any], v: NDArray[Any]) -> None:
        """Add tokens: k [H, n, d_k], v [H, n, d_v], n up to the chunk, in the arithmetic."""
        for heads in self._groups():
            for rows, phi in self._features(k[heads], "key"):
                self.arithmetic.add_product(self.numerators[heads, rows], phi, v[heads])
                self.arithmetic.add_total(self.normalisers[heads, rows, None], phi)

    def read(self, q: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return numerators [H, n, d_v] and sums of weights [H, n, 1] for queries [H, n, d_k], n up to the chunk."""
        numerator = np.zeros((*q.shape[:2], self.value_size), dtype=self.arithmetic.dtype)
        normaliser = np.zeros((*q.shape[:2], 1), dtype=self.arithmetic.dtype)
        for heads in self._groups():
            for rows, phi in self._features(q[heads], "query"):
                left = phi.swapaxes(1, 2)
                state, sums = self.numerators[heads, rows], self.normalisers[heads, rows, None]
                self.arithmetic.add_product(numerator[heads], left, state)
                self.arithmetic.add_product(normaliser[heads], left, sums)
        return numerator, normaliser

    def _groups(self) -> Iterator[slice]:
        for first in range(0, self.heads, self.together):
            yield slice(first, min(first + self.together, self.heads))

    def _features(self, tokens: NDArray[Any], side: str) -> Iterator[tuple[slice, NDArray[Any]]]:
        for rows, phi in self.map.blocks(tokens):
            if self.side not in (side, "both"):
                yield rows, phi
                continue
            weighted = self.weighted[: len(phi), : phi.shape[1], : phi.shape[2]]
            np.multiply(phi, self.coefficients[rows, None], out=weighted)
            yield rows, self.arithmetic.as_factor(weighted)


def _coefficients(head_size: int, order: int, arithmetic: Arithmetic, *, rooted: bool) -> NDArray[Any]:
    """Return C_p / p! = 1 / (product of the factorials of the exponents) per monomial, SA (3) and (8), or its root.

    From exact integers, worked out in float64 and rounded to the arithmetic's factors.
    """
    exact = [1.0 / products.astype(np.float64) for products in exponent_factorials(head_size, order)]
    coefficients = np.concatenate(exact)
    return arithmetic.as_constant(np.sqrt(coefficients) if rooted else coefficients)


def check_memory(features: int, numbers: int, head_size: int, order: int, arithmetic: Arithmetic, limit: int) -> None:
    """Raise TooLargeError if so many numbers of the carrier take more than the limit in bytes."""
    needed = numbers * arithmetic.dtype.itemsize
    if needed > limit:
        raise TooLargeError(
            f"{features:,} features of order {order} at head size {head_size} need {_mebibytes(needed)}",
            f"at most {_mebibytes(limit)} in {arithmetic.name}",
            "lower the order or use the form scores",
        )


def _mebibytes(count: int) -> str:
    return f"{-(-count // 2**20):,} MiB"
