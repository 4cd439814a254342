"""Sums of fixed size over the symmetric features of keys, read with the features of queries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import comb, log2
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.attention.features import BLOCK_NUMBERS, FeatureMap
from verify.attention.hazards import Hazards
from verify.attention.sums import Sums
from verify.errors import InvalidRequestError, TooLargeError
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.formats import Format

# The part of a monomial's coefficient C_p / p! that stands on the side of the query; the key has the rest.
SIDES = {"query": 1.0, "key": 0.0, "both": 0.5}

# How the degrees are added up in a read-out: one accumulator for all, or one each and the highest degree first.
DEGREES = ("together", "apart")

# Tokens taken at once, unless fewer are given: matrix products of fewer do not reach the machine's speed.
CHUNK = 512

# What state and buffers of features may take.
MEMORY_LIMIT = 512 * 2**20


class TaylorSums:
    """S = sum_t Phi(k_t) v_t^T and z = sum_t Phi(k_t) for several heads, SA (A2), all degrees up to the order.

    sums: [H, m, d_v + 1], S and in the last column z; m = C(d_k + order, order).  The coefficient C_p / p! of a
    monomial stands on the side of the query, of the key, or its square root on both.
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
        degrees: str = "together",
        storage: Format | None = None,
        compensated: bool = False,
        one_by_one: bool = False,
        watch: bool = False,
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        """Raise TooLargeError before allocating anything if more than memory_limit bytes would be held."""
        for name, given, known in (("side", side, tuple(SIDES)), ("degrees", degrees, DEGREES)):
            if given not in known:
                raise InvalidRequestError(f"{name} {given!r}", "one of " + ", ".join(known), "choose one")
        features = countable_features(head_size, order)
        below = comb(head_size + order - 1, max(0, order - 1))  # features of all degrees but the highest
        # state of all heads, and what compensates it; beside it features, components divided by exponents, accumulators
        # apart, and rooms of the sums for a slice of the highest degree
        needed = heads * features * (value_size + 1) * (arithmetic.sums if storage is None else storage).width // 8
        accumulators = (order + 2) * chunk if degrees == "apart" else chunk
        buffers = below * chunk + 2 * BLOCK_NUMBERS + max(1, order) * head_size * chunk
        buffers += (accumulators + 3 * below) * (value_size + 1)
        needed = needed * (1 + compensated) + buffers * arithmetic.dtype.itemsize
        check_memory(features_text(features, head_size, order, arithmetic), needed, memory_limit, FEWER)
        self.heads = heads
        self.arithmetic = arithmetic
        self.sums = Sums(
            arithmetic,
            (heads, features, value_size + 1),
            storage=storage,
            compensated=compensated,
            one_by_one=one_by_one,
        )
        # heads that are small together share their blocks; a large one stands alone
        self.together = max(1, min(heads, BLOCK_NUMBERS // max(1, features * chunk)))
        self.map = FeatureMap(arithmetic, self.together, head_size, order, chunk, watch=watch)
        self.shares = {"query": SIDES[side], "key": 1.0 - SIDES[side]}
        self.multiplied = np.empty((self.together, chunk, value_size + 1), dtype=arithmetic.dtype)
        self.apart = [np.empty_like(self.multiplied) for _ in range(order + 1)] if degrees == "apart" else []

    def add(self, k: NDArray[Any], values: NDArray[Any]) -> None:
        """Add tokens: k [H, n, d_k] and values [H, n, d_v + 1], the last of which is 1; n up to the chunk."""
        for heads in self._groups():
            for block in self.map.blocks(k[heads], self.shares["key"]):
                right = values[heads]
                if block.factor is not None:
                    right = np.multiply(right, block.factor[..., None], out=self._room(self.multiplied, right))
                self.sums.add_product((heads, block.rows), block.features, right)

    def read(self, q: NDArray[Any], totals: NDArray[Any]) -> None:
        """Add numerators and, in the last column, sums of weights, [H, members, n, d_v + 1], for q [.., n, d_k].

        The members of a head share its state; n is up to the chunk.
        """
        for heads in self._groups():
            for member in range(q.shape[1]):
                target = totals[heads, member]
                parts = [self._room(part, target) for part in self.apart] or [target]
                for part in parts[: len(self.apart)]:
                    part[...] = 0
                for block in self.map.blocks(q[heads, member], self.shares["query"]):
                    factor = None if block.factor is None else block.factor[..., None]
                    into = parts[block.degree % len(parts)]
                    self.sums.add_to(into, block.features.swapaxes(1, 2), (heads, block.rows), factor)
                if self.apart:
                    total = parts[-1]
                    for part in parts[-2::-1]:
                        total = self.arithmetic.as_sum(total + part)
                    target[...] = self.arithmetic.as_sum(target + total)

    @staticmethod
    def _room(buffer: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
        return buffer[: len(like), : like.shape[1]]

    @property
    def hazards(self) -> Hazards:
        """What has gone wrong in the sums and, if that is watched, in the features."""
        features = {"overflowed_features": self.map.overflowed, "underflowed_features": self.map.underflowed}
        return replace(self.sums.hazards, **features)

    def merge(self, other: TaylorSums) -> None:
        """Add the sums of other tokens."""
        self.sums.merge(other.sums)

    def _groups(self) -> Iterator[slice]:
        for first in range(0, self.heads, self.together):
            yield slice(first, min(first + self.together, self.heads))


def check_memory(what: str, needed: int, limit: int, remedy: str) -> None:
    """Raise TooLargeError if so many bytes are more than the limit."""
    if needed > limit:
        raise TooLargeError(f"{what} need {_mebibytes(needed)}", f"at most {_mebibytes(limit)}", remedy)


def features_text(features: int, head_size: int, order: int, arithmetic: Arithmetic) -> str:
    """Return in words what too large a request asks for."""
    return f"{features:,} features of order {order} at head size {head_size} in {arithmetic.name}"


def countable_features(head_size: int, order: int) -> int:
    """Return C(d_k + order, order); TooLargeError, before working it out, if it has more digits than memory."""
    smaller, larger = sorted((head_size, order))
    # C(d + N, N) >= (1 + larger / smaller)**smaller
    if smaller * log2(1 + larger / max(1, smaller)) > COUNTABLE_BITS:
        raise TooLargeError(
            f"more than 2^{COUNTABLE_BITS} features of order {order} at head size {head_size}",
            "as many as memory holds",
            FEWER,
        )
    return comb(head_size + order, order)


# More features than that fit into no memory.
COUNTABLE_BITS = 64

# What to do about too many features.
FEWER = "lower the order or use the form scores"


def _mebibytes(count: int) -> str:
    return f"{-(-count // 2**20):,} MiB"
