"""Sums over tokens that a state keeps, in a format of their own or with compensation: how far off they are.

M is the sum of the magnitudes that are added up, u the unit roundoff of the format they are kept in, a that of the
format they are added in, the more precise of u's and the arithmetic's (see `verify.attention.sums.Sums`).

Without compensation a sum is rounded by a in every addition and by u when it is stored.

With compensation V + C stands for the sum.  An addition rounds C + (what is taken from V), at most (c + a) M by a, with
|C| <= c M, c = 3 u (1 + u)^2; joins the two, T + C, the larger first or not, by at most a (c' + a) M and a^2 (1 + c'
+ a) M, c' = (1 + u)(c + u); and stores the rest, at most 3 u M, by 2 u.  For a <= u <= 1/8 these are below 25 u^2 M
together, numbers being at most (1 + u)^2 (M + what is lost): 0.31 and 1.27 M there, and less for finer formats.
"""

from __future__ import annotations

from dataclasses import dataclass

from verify.bounds.pairs import Pairs
from verify.numbers.formats import FORMATS

# Parts u^2 of the sum of magnitudes that an addition takes from a compensated sum.
COMPENSATED = 25


@dataclass(frozen=True)
class Kept:
    """Sums that a state keeps.

    added: how far off they are, relative to the magnitudes added up.  size: by how much what is held may exceed these.
    roundings: of numbers that are read, before they are multiplied.  arrays: how many a read-out goes through.  tiny:
    the smallest number, if storing may underflow.  largest: the largest number.
    """

    added: float
    size: float
    roundings: int
    arrays: int
    tiny: float
    largest: float

    def spread(self, pairs: Pairs, features: int, more: int = 0) -> float:
        """Return g of sums that are read with so many features, and rounded some more times."""
        read = pairs.gamma(self.arrays * features + self.roundings + more, pairs.s)
        return (1.0 + self.added) * (1.0 + self.size * read) - 1.0

    def overflows(self, reached: float) -> bool:
        """Return whether a sum of that size, and the same with values of v, may exceed the largest number."""
        return not 2 * reached <= self.largest


def kept(pairs: Pairs, storage: str | None, compensated: bool, chunk: int, scalings: int = 0) -> Kept:
    """Return what is known of sums of products of two factors over n tokens.

    chunk: tokens whose products are added up before they reach the sums, where sums are the carrier's own numbers.
    scalings: how many times the sums are multiplied by a factor on the way.
    """
    sums = pairs.arithmetic.sums
    format_ = sums if storage is None else FORMATS[storage]
    u = 2.0**-format_.precision
    a = min(pairs.s, u)
    tokens = max(1, min(chunk, pairs.n)) if pairs.arithmetic.keeps_sums else 1
    times = pairs.chunks(tokens)
    within = pairs.gamma(tokens - pairs.exact, pairs.s)
    if compensated:
        lost = (1.0 + pairs.gamma(COMPENSATED * (times + scalings), u * u)) * (1.0 + pairs.gamma(2 * scalings, a))
    else:
        stored = pairs.gamma(times + scalings, u) if u > a else 0.0
        lost = (1.0 + pairs.gamma(max(0, times - 1) + scalings, a)) * (1.0 + stored)
    return Kept(
        added=(1.0 + within) * lost - 1.0,
        size=(1.0 + u) ** 6 if compensated else 1.0,
        roundings=int(u < pairs.s),
        arrays=1 + compensated,
        tiny=format_.smallest if storage is not None or compensated else 0.0,
        largest=format_.largest,
    )
