"""Log-exp attention with a state of fixed size, in linear space around running maxima wherever that loses nothing."""

from __future__ import annotations

from dataclasses import replace
from math import log, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.arguments import checked_integer
from verify.attention.hazards import Hazards
from verify.attention.memory import MEMORY_LIMIT, check_memory
from verify.attention.state import AttentionState, checked_settings, storage_format
from verify.attention.sums import EVERYTHING, Sums, numbers_held
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.formats import Format

# Tokens taken at once.
CHUNK = 128

# Queries whose pairs are exponentiated one by one at a time.
PAIRED_ROWS = 16

# What underflow takes from a weight stays below 2**-8 unit roundoffs of the largest.
MARGIN_BITS = 8


class LogExpSums:
    """exp(H_S) and exp(H_Z) of LE (6) for several heads, each key feature divided by the exponential of its maximum.

    top: [H, d_k], the largest k of each feature so far, minus infinity before the first.  sums: [H, d_k, d_v + 1],
    sum_t exp(k_t - top) v_t, of either sign, and in the last column sum_t exp(k_t - top).  A token that underflows here
    is negligible against another one of the same feature, whatever the query is;
    where the other one's v is 0 and its own is huge, that is a loss.
    """

    def __init__(
        self,
        arithmetic: Arithmetic,
        heads: int,
        head_size: int,
        value_size: int,
        *,
        storage: Format | None = None,
        compensated: bool = False,
        one_by_one: bool = False,
    ) -> None:
        self.arithmetic = arithmetic
        self.top = np.full((heads, head_size), -np.inf, dtype=arithmetic.dtype)
        shape = (heads, head_size, value_size + 1)
        self.sums = Sums(arithmetic, shape, storage=storage, compensated=compensated, one_by_one=one_by_one)

    def add(self, k: NDArray[Any], values: NDArray[Any]) -> None:
        """Add tokens: k [H, n, d_k] and values [H, n, d_v + 1], the last of which is 1."""
        self._raise_top(np.maximum(self.top, k.max(axis=1)))
        left = self._factors(k - self.top[:, None]).swapaxes(1, 2)
        self.sums.add_products(left, values)

    @property
    def hazards(self) -> Hazards:
        """What has gone wrong in the sums."""
        unbounded = int(np.count_nonzero(np.isnan(self.top) | (self.top == np.inf)))
        found = self.sums.hazards
        return replace(found, nonfinite_state=found.nonfinite_state + unbounded)

    def merge(self, other: LogExpSums) -> None:
        """Add the sums of other tokens; these take the larger maxima, and so do the other's, as it stood."""
        before = other.top
        self._raise_top(np.maximum(self.top, before))
        self.sums.merge(other.sums, self._kept(before, self.top))

    def _raise_top(self, top: NDArray[Any]) -> None:
        """Take other, larger, maxima."""
        if (top != self.top).any():
            self.sums.scale(self._kept(self.top, top))
            self.top = top

    def _kept(self, before: NDArray[Any], top: NDArray[Any]) -> NDArray[Any]:
        """Return exp(before - top) [H, d_k, 1], and 0 where nothing had been added: there is nothing to keep."""
        settle = self.arithmetic.as_sum
        return settle(np.exp(settle(np.where(before == -np.inf, -np.inf, before - top)))).astype(top.dtype)[..., None]

    def read(self, q: NDArray[Any], totals: NDArray[Any]) -> None:
        """Add numerators and, in the last column, sums of weights, [H, members, n, d_v + 1], for q [.., n, d_k].

        The sums of a row share a factor.
        """
        exponents = self.arithmetic.as_sum(q + self.top[:, None, None])
        self._read(exponents, exponents.max(axis=-1, keepdims=True), totals)

    def read_causally(self, q: NDArray[Any], k: NDArray[Any], values: NDArray[Any], totals: NDArray[Any]) -> None:
        """Add tokens one by one and read after each, with q [H, members, n, d_k]; add to totals what `read` adds.

        A row's weights are divided by the largest there is, exp(a), a = max over the tokens up to its own and over i of
        q_i + k_i.  Those of the chunk's own tokens are products exp(q + m - a) exp(k - m)^T with m the maxima of the
        whole chunk: a matrix product.  The second factor is at most 1, the first at most exp(g), g = max_i (q_i + m_i)
        - a, which later tokens make large.  Underflow takes at most half the smallest number from either factor, and so
        at most exp(g) times that from a weight, whose largest is 1.  Where exp(g) is beyond 2**-(min_exponent +
        MARGIN_BITS), the row is worked out pair by pair: exp(q_i + k_i - a), which underflows harmlessly.
        """
        settle = self.arithmetic.as_sum
        limit = max(0.0, log(2.0) * (-self.arithmetic.factors.min_exponent - MARGIN_BITS))
        highest = k.max(axis=1)[:, None, None]
        reached = np.maximum(np.maximum.accumulate(k, axis=1), self.top[:, None])[:, None]
        shift = settle(q + reached).max(axis=-1, keepdims=True)
        exponents = settle(settle(q + highest) - shift)
        far = exponents.max(axis=-1) > limit
        left = self._factors(np.minimum(exponents, exponents.dtype.type(limit)))
        right = self._factors(k[:, None] - highest)
        weights = np.tril(self.arithmetic.product(left, right.mT))
        for head, member in np.argwhere(far.any(axis=-1)).tolist():
            for rows in _parts(np.flatnonzero(far[head, member])):
                pairs = settle(settle(q[head, member, rows, None] + k[head]) - shift[head, member, rows, None])
                found = self.arithmetic.total(settle(np.exp(pairs)))[..., 0]
                weights[head, member, rows] = np.where(np.arange(k.shape[1]) <= rows[:, None], found, 0)
        weights = self.arithmetic.as_factor(weights)
        self._read(settle(q + self.top[:, None, None]), shift, totals)
        self.arithmetic.add_product(totals, weights, values[:, None])
        self.add(k, values)

    def _read(self, exponents: NDArray[Any], shift: NDArray[Any], totals: NDArray[Any]) -> None:
        """Read with q + top [H, members, n, d_k] and a shift [.., 1] that is not below them."""
        left = self._factors(np.where(exponents == -np.inf, -np.inf, exponents - shift))
        for member in range(totals.shape[1]):
            self.sums.add_to(totals[:, member], left[:, member], EVERYTHING)

    def _factors(self, exponents: NDArray[Any]) -> NDArray[Any]:
        return self.arithmetic.as_factor(np.exp(self.arithmetic.as_sum(exponents)))


class LogExpState(AttentionState):
    """The state of log-exp attention, LE (6): exp(H_S) and exp(H_Z) with each key feature's maximum divided out.

    d_k (d_v + 1) numbers for each of the leading dimensions, whatever the context, and d_k maxima.  v has any sign.
    Settings and errors as in other states; compensation covers additions, not the factor by which sums are divided
    when a maximum grows, which has the accuracy of the arithmetic.
    """

    mechanism = "logexp"
    known_settings = ("head_size", "value_size", "lead", "arithmetic", "storage", "compensated", "one_by_one")

    def __init__(
        self,
        head_size: int,
        value_size: int,
        *,
        lead: tuple[int, ...] = (),
        arithmetic: str | Arithmetic = "float64",
        storage: str | Format | None = None,
        compensated: bool = False,
        one_by_one: bool = False,
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        given = {
            "head_size": head_size,
            "value_size": value_size,
            "lead": lead,
            "arithmetic": arithmetic,
            "storage": storage,
            "compensated": compensated,
            "one_by_one": one_by_one,
        }
        settings = checked_settings(**given)
        head_size, value_size, heads = settings["head_size"], settings["value_size"], prod(settings["lead"])
        # sums and maxima, and a chunk's tokens, as given, as taken and with ones, and factors of queries and of keys
        numbers = numbers_held(heads * head_size * (value_size + 1), settings["compensated"]) + 2 * heads * head_size
        numbers += heads * CHUNK * (4 * head_size + 3 * (head_size + value_size + 1))
        limit = checked_integer("memory limit", memory_limit, 0)
        check_memory(f"a state of head size {head_size}", 8 * numbers, limit, "take fewer heads at a time")
        super().__init__(settings, CHUNK)
        self._padding = -self._arithmetic.inputs.largest  # no maximum rises to it
        self._sums: LogExpSums = LogExpSums(
            self._arithmetic,
            heads,
            head_size,
            value_size,
            storage=storage_format(storage),
            compensated=settings["compensated"],
            one_by_one=settings["one_by_one"],
        )

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {**super()._arrays(), "top": self._sums.top}


def _parts(rows: NDArray[Any]) -> list[NDArray[Any]]:
    return [rows[first : first + PAIRED_ROWS] for first in range(0, len(rows), PAIRED_ROWS)]
