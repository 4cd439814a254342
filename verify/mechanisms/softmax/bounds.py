"""What rounding can do to the weights of conventional attention."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from verify.attention.contract import Member
from verify.bounds.pairs import Pairs, WeightBound
from verify.bounds.unit import compounded
from verify.mechanisms.softmax.forms import ONLINE_KEYS


def two_passes(pairs: Pairs, member: Member) -> WeightBound:
    """Both sums take a product and n - 1 additions."""
    return _conventional(pairs, 0.0, pairs.gamma(max(0, pairs.n - pairs.exact), pairs.s))


def online(pairs: Pairs, member: Member, *, keys: int = ONLINE_KEYS) -> WeightBound:
    """Each of T tiles but the first multiplies what there is by exp(m - m'), m the running maximum.

    The differences that are rounded lead from a logit up to the largest, tile by tile: together they are as long as the
    one that two passes round.  An exponential more for each tile is shared by both sums; the products with it, and
    adding the tile, are not.
    """
    later = max(0, ceil(pairs.n / keys) - 1)
    shared = compounded(later, pairs.library(pairs.s))
    return _conventional(pairs, shared, pairs.gamma(max(0, pairs.n - pairs.exact) + 2 * later, pairs.s))


def _conventional(pairs: Pairs, shared: float, spread: float) -> WeightBound:
    doubt = pairs.weighing_doubt()
    exponent, shifted = pairs.softmax_exponents(pairs.logits, pairs.moved_logits(), doubt)
    found = pairs.exponentials(pairs.logits, exponent + shared, shifted, doubt, spread)
    return replace(found, overflows=pairs.overflows(pairs.n, sums=pairs.products()))
