"""Sums of fixed size over the symmetric features of keys, read with the features of queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import comb, log2, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.arguments import checked_integer
from verify.attention.contract import Member, require_member
from verify.attention.hazards import Hazards
from verify.attention.memory import MEMORY_LIMIT, check_memory
from verify.attention.operands import scale_of
from verify.attention.state import AttentionState, checked_settings, storage_format
from verify.attention.sums import Sums
from verify.errors import TooLargeError, unknown
from verify.families.polynomial.features import BLOCK_NUMBERS, FeatureBlock, FeatureMap
from verify.families.polynomial.polynomial import polynomial
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.formats import Format

# The part of a monomial's coefficient C_p / p! that stands on the side of the query; the key has the rest.
SIDES = {"query": 1.0, "key": 0.0, "both": 0.5}

# How the degrees are added up in a read-out: one accumulator for all, or one each and the highest degree first.
DEGREES = ("together", "apart")

# Tokens taken at once, unless fewer are given: matrix products of fewer do not reach the machine's speed.
CHUNK = 512


class PolynomialSums:
    """S = sum_t Phi(k_t) v_t^T and z = sum_t Phi(k_t) for several heads, SA (A2), all degrees that a polynomial has.

    sums: [H, m, d_v + 1], S and in the last column z; m = C(d_k + order, order), less the degrees left out.  The
    coefficient C_p / p! of a monomial stands on the side of the query, of the key, or its square root on both.
    factors: by which what a degree gives is multiplied when it is read, p! c_p for a polynomial sum_p c_p s^p; a degree
    with factor 0 is not kept.  None: all are 1, as for exp cut after a power.
    """

    def __init__(
        self,
        arithmetic: Arithmetic,
        heads: int,
        head_size: int,
        value_size: int,
        order: int,
        *,
        factors: Sequence[float] | None = None,
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
                raise unknown(f"{name} {given!r}", given, known)
        countable_features(head_size, order)
        counts = [comb(head_size + p - 1, p) for p in range(order + 1)]
        kept = [factors is None or factors[p] != 0 for p in range(order + 1)]
        features = sum(count for count, keep in zip(counts, kept, strict=True) if keep)
        # by how many rows that are not kept those of a degree come earlier than they are numbered; None: not kept
        self.earlier = [
            sum(count for count, keep in zip(counts[:p], kept, strict=False) if not keep) if kept[p] else None
            for p in range(order + 1)
        ]
        below = comb(head_size + order - 1, max(0, order - 1))  # features of all degrees but the highest
        # state of all heads, and what compensates it; beside it features, components divided by exponents, accumulators
        # apart, rooms of the sums for a slice of the highest degree, and a chunk's tokens, as given and as taken
        needed = heads * features * (value_size + 1) * (arithmetic.sums if storage is None else storage).width // 8
        apart = degrees == "apart" or factors is not None
        accumulators = (order + 2) * chunk if apart else chunk
        buffers = below * chunk + 2 * BLOCK_NUMBERS + max(1, order) * head_size * chunk
        buffers += (accumulators + 3 * below) * (value_size + 1) + 2 * chunk * (head_size + value_size + 1)
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
        self.apart = [np.empty_like(self.multiplied) for _ in range(order + 1)] if apart else []
        self.factors = None if factors is None else arithmetic.as_constant(np.array(factors, dtype=np.float64))

    def add(self, k: NDArray[Any], values: NDArray[Any]) -> None:
        """Add tokens: k [H, n, d_k] and values [H, n, d_v + 1], the last of which is 1; n up to the chunk."""
        for heads in self._groups():
            for block in self.map.blocks(k[heads], self.shares["key"]):
                rows = self._rows(block)
                if rows is None:
                    continue
                right = values[heads]
                if block.factor is not None:
                    right = np.multiply(right, block.factor[..., None], out=self._room(self.multiplied, right))
                self.sums.add_product((heads, rows), block.features, right)

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
                    rows = self._rows(block)
                    if rows is None:
                        continue
                    factor = None if block.factor is None else block.factor[..., None]
                    into = parts[block.degree % len(parts)]
                    self.sums.add_to(into, block.features.swapaxes(1, 2), (heads, rows), factor)
                if self.factors is not None:
                    for part, factor in zip(parts, self.factors, strict=True):
                        part[...] = self.arithmetic.as_sum(part * factor)
                if self.apart:
                    total = parts[-1]
                    for part in parts[-2::-1]:
                        total = self.arithmetic.as_sum(total + part)
                    target[...] = self.arithmetic.as_sum(target + total)

    def _rows(self, block: FeatureBlock) -> slice | None:
        """Return where the sums of a block of features are kept; None if they are not."""
        earlier = self.earlier[block.degree]
        return None if earlier is None else slice(block.rows.start - earlier, block.rows.stop - earlier)

    @staticmethod
    def _room(buffer: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
        return buffer[: len(like), : like.shape[1]]

    @property
    def hazards(self) -> Hazards:
        """What has gone wrong in the sums and, if that is watched, in the features."""
        features = {"overflowed_features": self.map.overflowed, "underflowed_features": self.map.underflowed}
        return replace(self.sums.hazards, **features)

    def merge(self, other: PolynomialSums) -> None:
        """Add the sums of other tokens."""
        self.sums.merge(other.sums)

    def _groups(self) -> Iterator[slice]:
        for first in range(0, self.heads, self.together):
            yield slice(first, min(first + self.together, self.heads))


class PolynomialState(AttentionState):
    """The state of a polynomial of the logits: S = sum_t Phi(k_t) v_t^T and z = sum_t Phi(k_t), SA (A2).

    (d_v + 1) numbers for each feature and each of the leading dimensions, whatever the context.

    member: of a polynomial mechanism.  scale: of the logits, None for 1/sqrt(d_k); it is applied to queries.
    arithmetic: see `verify.numbers.arithmetic`.  storage: the format that sums are kept in from chunk to chunk, None
    for the arithmetic's.  compensated: keep beside every sum what rounding took from it.  one_by_one: add each token by
    itself, as one that generates does, instead of a chunk in one step.  side, degrees: as in
    `verify.families.polynomial.forms.packed`.

    Raises InvalidRequestError for sizes or names that do not exist, TooLargeError before allocating if state and
    buffers would need more than memory_limit bytes.
    """

    known_settings = (
        *("member", "head_size", "value_size", "lead", "scale", "arithmetic", "storage", "compensated", "one_by_one"),
        *("side", "degrees"),
    )

    def __init__(
        self,
        member: Member,
        head_size: int,
        value_size: int,
        *,
        lead: tuple[int, ...] = (),
        scale: float | None = None,
        arithmetic: str | Arithmetic = "float64",
        storage: str | Format | None = None,
        compensated: bool = False,
        one_by_one: bool = False,
        side: str = "query",
        degrees: str = "together",
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        require_member(member)
        self.mechanism = member.of
        given = {
            "head_size": head_size,
            "value_size": value_size,
            "lead": lead,
            "scale": scale,
            "arithmetic": arithmetic,
            "storage": storage,
            "compensated": compensated,
            "one_by_one": one_by_one,
            "side": side,
            "degrees": degrees,
        }
        settings = {"member": member.name} | checked_settings(**given)
        kernel = polynomial(member)
        self._keep(settings, kernel.order(member), kernel.factors(member), memory_limit)

    def _keep(self, settings: dict[str, Any], order: int, factors: Sequence[float] | None, memory_limit: int) -> None:
        """Make the sums."""
        super().__init__(settings, CHUNK)
        self._scale = scale_of(settings["scale"], settings["head_size"], self._arithmetic)
        self._sums = PolynomialSums(
            self._arithmetic,
            prod(settings["lead"]),
            settings["head_size"],
            settings["value_size"],
            order,
            factors=factors,
            side=settings["side"],
            degrees=settings["degrees"],
            storage=storage_format(settings["storage"]),
            compensated=settings["compensated"],
            one_by_one=settings["one_by_one"],
            memory_limit=checked_integer("memory limit", memory_limit, 0),
        )

    def _scaled(self, q: NDArray[Any]) -> NDArray[Any]:
        return self._arithmetic.as_factor(q * self._scale)


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
FEWER = "keep fewer powers (--orders), use the form scores (--mechanisms), or allow more memory (--memory)"
