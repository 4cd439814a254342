"""Running sums that tokens are added to: how they are stored, compensated, and how many additions they have lost."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.attention.hazards import Hazards
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.formats import Format

# Which of the sums [H, m, w] are meant: some heads, some rows.
Place = tuple[slice, slice]
EVERYTHING: Place = (slice(None), slice(None))

# Terms [n, H, m, w] that are added one by one and held at once: 2**18 of float32 are 1 MiB.
TERMS = 1 << 18


def numbers_held(count: int, compensated: bool) -> int:
    """Return how many numbers so many sums take, with what compensates them and what adding to some of them takes."""
    return count * (1 + compensated) + min(count, TERMS) * (12 if compensated else 3)


class Sums:
    """Sums [H, m, w] over tokens of products left right, in a storage format.

    Where the arithmetic's sums are the carrier's numbers, the products of the tokens given together are added up by a
    matrix product, and that sum is added in one step: a count of tokens then grows by many at once.  one_by_one: every
    token is added by itself instead, as other arithmetics do anyway; a float32 count stops at 2**24 that way.

    An addition is carried out in the more precise of storage and the arithmetic's sums and rounded to the storage.
    compensated: what rounding took is kept in a second array and added to the first when it can be (T. J. Dekker,
    Numer. Math. 18, 1971; A. Neumaier, ZAMM 54, 1974): a sum is then as good as one of twice the digits.

    lost: how many additions of something other than zero left a sum, compensation included, exactly as it was.  A block
    of tokens that are added one by one to compensated sums counts as one addition.
    """

    def __init__(
        self,
        arithmetic: Arithmetic,
        shape: tuple[int, int, int],
        *,
        storage: Format | None = None,
        compensated: bool = False,
        one_by_one: bool = False,
    ) -> None:
        self.arithmetic = arithmetic
        self.storage = arithmetic.sums if storage is None else storage
        self.one_by_one = one_by_one
        self.lost = 0
        # whether they are the carrier's own numbers, which need no conversion
        self._own = self.storage == arithmetic.sums and arithmetic.keeps_sums
        self._adding = max(arithmetic.sums, self.storage, key=lambda format_: format_.precision)
        wide = arithmetic.dtype if self._adding == arithmetic.sums else self._adding.dtype
        self._carrier = wide if np.can_cast(np.float32, wide) else np.dtype(np.float32)
        dtype = arithmetic.dtype if self._own else self.storage.dtype
        self.values = np.zeros(shape, dtype=dtype)
        self.carried = np.zeros(shape, dtype=dtype) if compensated else None
        self._rooms: dict[str, NDArray[Any]] = {}

    @property
    def arrays(self) -> list[NDArray[Any]]:
        """The sums and, if they are compensated, what is carried beside them."""
        return [self.values] if self.carried is None else [self.values, self.carried]

    @property
    def hazards(self) -> Hazards:
        """How many sums are NaN or infinite, or below the normal numbers, and how many additions were lost."""
        nonfinite = underflowed = 0
        flat = self.values.reshape(-1)
        for first in range(0, flat.size, TERMS):
            some = flat[first : first + TERMS]
            values = some.astype(np.float64) if some.dtype == np.object_ else some
            small = (values != 0) & (np.abs(values) < values.dtype.type(2.0**self.storage.min_exponent))
            nonfinite += int(np.count_nonzero(~np.isfinite(values)))
            underflowed += int(np.count_nonzero(small))
        return Hazards(nonfinite_state=nonfinite, lost_additions=self.lost, underflowed_state=underflowed)

    def add_product(self, place: Place, left: NDArray[Any], right: NDArray[Any]) -> None:
        """Add left [h, r, n] right [h, n, w], factors of the arithmetic, over n tokens."""
        tokens = left.shape[-1]
        if self.arithmetic.keeps_sums and not (self.one_by_one and tokens > 1):
            room = self._room("product", (*left.shape[:2], right.shape[-1]), left.dtype)
            self.add(place, np.matmul(left, right, out=room))
        elif self._own:
            step = max(1, TERMS // max(1, prod(left.shape[:2]) * right.shape[-1]))
            for first in range(0, tokens, step):
                some = slice(first, first + step)
                self._add_in_turn(place, _outer(left[..., some], right[:, some]))
        else:
            for token in range(tokens):
                (term,) = _outer(left[..., token : token + 1], right[:, token : token + 1])
                self.add(place, self.arithmetic.as_sum(term))

    def add_products(self, left: NDArray[Any], right: NDArray[Any]) -> None:
        """Add left [H, m, n] right [H, n, w], as many rows of left at a time as leave room for the rest."""
        heads, rows, _ = left.shape
        step = max(1, TERMS // max(1, heads * right.shape[-1]))
        for first in range(0, rows, step):
            some = slice(first, first + step)
            self.add_product((slice(None), some), left[:, some], right)

    def add(self, place: Place, addend: NDArray[Any]) -> None:
        """Add numbers [h, r, w] of the arithmetic's sums, each in one step."""
        sums = self.values[place]
        if self._own and self.carried is None:
            found = np.add(sums, addend, out=self._room("sum", sums.shape, sums.dtype))
            stuck = np.equal(found, sums, out=self._room("stuck", sums.shape, np.dtype(np.bool_)))
            if stuck.any():
                self.lost += int(np.count_nonzero(stuck & (addend != 0)))
            sums[...] = found
            return
        sums, addend = sums.astype(self._carrier), addend.astype(self._carrier)
        total = self._settled(sums + addend)
        if self.carried is None:
            self._replace(place, [total], addend != 0)
        else:
            self._compensate(place, total, _rounding_of(sums, addend, total, self._settled), addend != 0)

    def add_to(self, total: NDArray[Any], left: NDArray[Any], place: Place, factor: NDArray[Any] | None = None) -> None:
        """Add left [h, n, r] sums to total [h, n, w], in the arithmetic; times factor [h, n, 1] if there is one."""
        for array in self.arrays:
            held = array[place]
            if not self._own:
                held = self.arithmetic.as_sum(held.astype(self.arithmetic.dtype))
            if not self.arithmetic.keeps_sums:
                self.arithmetic.add_product(total, left, held)
                continue
            found = np.matmul(left, held, out=self._room("read", (*left.shape[:2], held.shape[-1]), left.dtype))
            if factor is not None:
                found *= factor
            total += found

    def scale(self, factors: NDArray[Any]) -> None:
        """Multiply the sums by factors [H, m, 1], rounding each product."""
        for place in self._places():
            scaled = [self._settled(array[place].astype(self._carrier) * factors[place]) for array in self.arrays]
            found = scaled if self.carried is None else self._joined(*scaled)
            for array, new in zip(self.arrays, found, strict=True):
                array[place] = self._stored(new)

    def merge(self, other: Sums, factors: NDArray[Any] | None = None) -> None:
        """Add the sums of other tokens, times factors [H, m, 1] if there are any; what they lost stays lost."""
        self.lost += other.lost
        for place in self._places():
            for addend in [array[place].astype(self._carrier) for array in other.arrays]:  # other may be this one
                self.add(place, addend if factors is None else self._settled(addend * factors[place]))

    def _places(self) -> Iterator[Place]:
        """Yield parts of the sums, a head and some rows each, that are small enough for copies."""
        heads, rows, width = self.values.shape
        step = max(1, TERMS // width)
        for head in range(heads):
            for first in range(0, rows, step):
                yield slice(head, head + 1), slice(first, first + step)

    def _add_in_turn(self, place: Place, terms: NDArray[Any]) -> None:
        """Add terms [n, h, r, w], one after the other, to sums that are the carrier's own numbers."""
        partial = np.add.accumulate(np.concatenate([self.values[place][None], terms]), axis=0)
        before, after = partial[:-1], partial[1:]
        if self.carried is None:
            self.lost += int(np.count_nonzero((after == before) & (terms != 0)))
            self.values[place] = after[-1]
        else:
            rest = _rounding_of(before, terms, after, self._settled).sum(axis=0)
            self._compensate(place, after[-1], rest, rest != 0)

    def _compensate(self, place: Place, total: NDArray[Any], rest: NDArray[Any], added: NDArray[np.bool_]) -> None:
        """Store totals, and what rounding took from them together with what had been carried before."""
        assert self.carried is not None
        carried = self._settled(self.carried[place].astype(self._carrier) + rest)
        self._replace(place, self._joined(total, carried), added)

    def _joined(self, total: NDArray[Any], carried: NDArray[Any]) -> list[NDArray[Any]]:
        """Return total + carried, the larger first, as a number of the storage and what that leaves."""
        joined = self._settled(total + carried)
        carried = self._settled(carried - self._settled(joined - total))
        values = self._stored(joined).astype(self._carrier)
        return [values, self._settled(self._settled(joined - values) + carried)]

    def _replace(self, place: Place, found: list[NDArray[Any]], added: NDArray[np.bool_]) -> None:
        """Store sums, and count those that stayed as they were though something was added."""
        for array, new in zip(self.arrays, found, strict=True):
            stored = self._stored(new)
            added = added & (array[place] == stored)
            array[place] = stored
        self.lost += int(np.count_nonzero(added))

    def _settled(self, values: NDArray[Any]) -> NDArray[Any]:
        return values if self._adding.dtype == self._carrier else self._adding.rounded(values).astype(self._carrier)

    def _stored(self, values: NDArray[Any]) -> NDArray[Any]:
        return values if self._own else self.storage.rounded(values)

    def _room(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return space of that shape, the same each time."""
        count = prod(shape)
        if name not in self._rooms or self._rooms[name].size < count:
            self._rooms[name] = np.empty(count, dtype=dtype)
        return self._rooms[name][:count].reshape(shape)


def with_ones(values: NDArray[Any], arithmetic: Arithmetic) -> NDArray[Any]:
    """Return values [..., d_v] of the arithmetic with a last column of ones, which adds up the weights."""
    return np.concatenate([values, arithmetic.as_input(np.ones((*values.shape[:-1], 1)))], axis=-1)


def _outer(left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    """Return the products [n, h, r, w] of left [h, r, n] and right [h, n, w], token by token."""
    return np.asarray(np.moveaxis(left, -1, 0)[..., None] * np.moveaxis(right, 1, 0)[:, :, None, :])


def _rounding_of(one: NDArray[Any], other: NDArray[Any], total: NDArray[Any], settled: Any) -> NDArray[Any]:
    """Return one + other - total exactly, for total = one + other rounded to nearest.

    D. E. Knuth, The Art of Computer Programming 2, section 4.2.2, theorem B.
    """
    part = settled(total - one)
    return np.asarray(settled(settled(one - settled(total - part)) + settled(other - part)))
