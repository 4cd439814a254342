"""What rounding can do to weights that are polynomials of the logits, for each form.

P(s) = sum_p c_p s^p; |P| is the same with |c_p|, L = |scale| sum_i |q_i k_i| the size of a logit's terms.  Roundings
are counted power by power: small logits are spared those that high powers take.
Number-of-roundings arguments are those of N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition,
sections 3.1 (sums and products), 3.5 (matrix products) and 5.1 (Horner's rule).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import comb, factorial

import numpy as np

from verify.attention.contract import Member
from verify.bounds.kept import kept
from verify.bounds.pairs import Pairs, WeightBound, largest_of, relative_error
from verify.families.polynomial.basis import dense_feature_count
from verify.families.polynomial.features import factored_slices
from verify.families.polynomial.forms import chunk_of
from verify.families.polynomial.polynomial import coefficients_of, nearest, polynomial
from verify.numbers.arrays import Float64Array
from verify.numbers.formats import Format


@dataclass(frozen=True)
class _Sizes:
    """A polynomial in float64: its order, c_p and |c_p|, p! c_p, and how it is evaluated (see `Polynomial`)."""

    order: int
    exact: tuple[Fraction, ...]
    signed: tuple[float, ...]
    absolute: tuple[float, ...]
    factors: tuple[float, ...] | None
    roundings: tuple[int, ...]
    passed_on: tuple[float, ...]

    @property
    def largest_factor(self) -> float:
        """The largest p! |c_p| by which a read-out is multiplied, or 1."""
        return max(1.0, *(abs(factor) for factor in self.factors)) if self.factors else 1.0

    def features(self, head_size: int) -> int:
        """Return how many symmetric features are kept."""
        counts = [comb(head_size + p - 1, p) for p in range(self.order + 1)]
        return sum(count for p, count in enumerate(counts) if self.factors is None or self.factors[p] != 0)


def _sizes(member: Member) -> _Sizes:
    kernel = polynomial(member)
    exact = tuple(coefficients_of(member))
    signed = tuple(nearest(c) for c in exact)
    factors = kernel.factors(member)
    roundings, passed_on = kernel.evaluation(member)
    absolute = tuple(abs(c) for c in signed)
    given = None if factors is None else tuple(factors)
    return _Sizes(len(signed) - 1, exact, signed, absolute, given, tuple(roundings), tuple(passed_on))


def evaluated(coefficients: Sequence[float], s: Float64Array) -> Float64Array:
    """Return sum_p c_p s^p in float64, by Horner's rule."""
    total = np.full_like(s, coefficients[-1] if coefficients else 0.0)
    for c in reversed(coefficients[:-1]):
        total = c + s * total
    return total


def scores(pairs: Pairs, member: Member) -> WeightBound:
    """Logits, Horner's rule, and the weight rounded to a factor; a product and n - 1 additions in either sum."""
    sizes = _sizes(member)
    moved = _narrowed(pairs, sizes, _horner(pairs, sizes, pairs.moved_logits()))
    return _weights(pairs, sizes, moved, pairs.gamma(max(0, pairs.n - pairs.exact), pairs.s))


def stream(
    pairs: Pairs,
    member: Member,
    *,
    side: str = "query",
    degrees: str = "together",
    storage: str | None = None,
    compensated: bool = False,
) -> WeightBound:
    """Features are shared by both sums, which are kept from chunk to chunk and read with the features of queries."""
    count = 1 if pairs.causal else chunk_of(pairs.queries, pairs.n, None)
    return _through(pairs, _sizes(member), count, side, degrees, storage, compensated)


def packed(
    pairs: Pairs,
    member: Member,
    *,
    chunk: int | None = None,
    side: str = "query",
    degrees: str = "together",
    storage: str | None = None,
    compensated: bool = False,
) -> WeightBound:
    """Through the state, or in a causal problem for a chunk's own pairs by their logits, of q that is scaled before."""
    sizes, count = _sizes(member), chunk_of(pairs.queries, pairs.n, chunk)
    through = _through(pairs, sizes, count, side, degrees, storage, compensated, more=pairs.causal)
    if not pairs.causal:
        return through
    moved = _horner(pairs, sizes, pairs.moved_logits(scaled_before=True))
    own = _weights(pairs, sizes, _narrowed(pairs, sizes, moved), through.spread)
    inside = pairs.inside(count)
    return replace(
        through,
        moved=np.where(inside, own.moved, through.moved),
        size=np.where(inside, own.size, through.size),
        overflows=own.overflows or through.overflows,
    )


def dense(pairs: Pairs, member: Member) -> WeightBound:
    """Features as in `stream`, times c_p as factors hold it; weights are sums over all d^p of them, p = 0 .. N."""
    sizes = _sizes(member)
    features = dense_feature_count(pairs.d, sizes.order)
    each = pairs.gamma(max(0, features - pairs.exact), pairs.s)
    coefficients = [
        ((1.0 + off) * (1.0 + held) * (1.0 + pairs.f) * (1.0 + each) - 1.0) * c
        for off, held, c in zip(
            _features(pairs, sizes.order, "none"),
            _held(sizes.exact, pairs.arithmetic.factors),
            sizes.absolute,
            strict=True,
        )
    ]
    moved = evaluated(coefficients, pairs.size) + _underflow(pairs, sizes, features)
    found = _weights(pairs, sizes, _narrowed(pairs, sizes, moved), pairs.gamma(max(0, pairs.n - pairs.exact), pairs.s))
    return _from_features(pairs, sizes, found, features, 0.0, largest=max(1.0, *sizes.absolute))


def _through(
    pairs: Pairs,
    sizes: _Sizes,
    chunk: int,
    side: str,
    degrees: str,
    storage: str | None,
    compensated: bool,
    more: int = 0,
) -> WeightBound:
    """Return the weights of pairs that go through the state.

    Roundings that the two sums do not share: the kept sums' own; reading them with m features; two of x_j v and of what
    is multiplied by x_j, where features of the highest degree are not formed; adding up degrees apart, and multiplying
    them by p! c_p.  p! c_p itself is the same for both.
    """
    features = sizes.features(pairs.d)
    off = _features(pairs, sizes.order, side)
    factors = [] if sizes.factors is None else [factorial(p) * c for p, c in enumerate(sizes.exact)]
    held = _held(factors, pairs.arithmetic.factors) or [0.0] * (sizes.order + 1)
    coefficients = [((1.0 + a) * (1.0 + b) - 1.0) * c for a, b, c in zip(off, held, sizes.absolute, strict=True)]
    moved = evaluated(coefficients, pairs.size) + _underflow(pairs, sizes, features)
    if degrees == "apart" or sizes.factors is not None:
        more += sizes.order + (sizes.factors is not None)
    if pairs.arithmetic.keeps_factors and pairs.arithmetic.keeps_sums:
        more += 2 * any(factored_slices(pairs.d, sizes.order, by_exponent=given) for given in (False, True))
    state = kept(pairs, storage, compensated, chunk)
    found = _weights(pairs, sizes, moved, state.spread(pairs, features, more), by_features=True)
    found = _from_features(pairs, sizes, found, features, state.tiny, largest=1.0)
    reached = pairs.n * _power(_sides(pairs)[1], sizes.order) * max(1.0, pairs.values)
    return replace(found, overflows=found.overflows or (storage is not None and state.overflows(reached)))


def _horner(pairs: Pairs, sizes: _Sizes, moved: Float64Array) -> Float64Array:
    """Return what a logit off by `moved` and the roundings of Horner's rule do to P(s).

    |P(s') - P(s)| is at most the integral of |P|' from |s| to |s| + moved; the power p of s' is rounded as often as
    `Polynomial.evaluation` says.
    """
    reached = np.abs(pairs.logits) + pairs.logit_doubt() + moved
    slopes = [p * c for p, c in enumerate(sizes.absolute)][1:]
    off = moved * evaluated(slopes, reached) if slopes else np.zeros_like(moved)
    each = [pairs.gamma(count, pairs.s) * c for count, c in zip(sizes.roundings, sizes.absolute, strict=True)]
    lost = 2 * pairs.tiny * (1 + evaluated(sizes.passed_on, reached))  # of a product, a division and a coefficient
    return np.asarray(off + evaluated(each, reached) + lost)


def _narrowed(pairs: Pairs, sizes: _Sizes, moved: Float64Array) -> Float64Array:
    """Return how far off weights are that were off by `moved` before they were rounded to factors."""
    weights = np.abs(evaluated(sizes.signed, pairs.logits))
    return np.asarray(moved + pairs.narrowed * (weights + moved) + pairs.tiny)


def _weights(
    pairs: Pairs, sizes: _Sizes, moved: Float64Array, spread: float, *, by_features: bool = False
) -> WeightBound:
    """Return weights P(s_t); by_features: what is added up is features, of the size |P|(L_t) together.

    Numbers on the way are at most |P|(max(1, L)), and through features, before p! c_p, as much with 1 / p!.
    """
    weights, heavy = evaluated(sizes.signed, pairs.logits), evaluated(sizes.absolute, pairs.size)
    # how far off the weights may be here; where they cancel, that may be more than they are
    moved = moved + 4 * (sizes.order + 1) * (sizes.order + pairs.d + 4) * 2.0**-53 * heavy
    added = (heavy if by_features else np.abs(weights)) + moved
    most = np.maximum(1.0, pairs.size)
    largest = pairs.largest_attended(evaluated(sizes.absolute, most))
    if by_features and sizes.factors is not None:
        kept_powers = [nearest(Fraction(int(f != 0), factorial(p))) for p, f in enumerate(sizes.factors)]
        largest = max(largest, pairs.largest_attended(evaluated(kept_powers, most)))
    factors = 1.0 if by_features else max(1.0, largest)
    overflows = pairs.overflows(max(1.0, pairs.n * largest), sums=pairs.products(), factors=factors)
    return WeightBound(weights, moved, added, spread, 0.0, overflows)


def _held(constants: Sequence[Fraction], format_: Format) -> list[float]:
    """Return the relative errors of constants in a format."""
    return [relative_error(c, float(format_.rounded(np.asarray(nearest(c))).astype(np.float64))) for c in constants]


def _features(pairs: Pairs, order: int, side: str) -> list[float]:
    """Return bounds on the relative error of a product of features of degree p and its coefficient, p = 0 .. N.

    q is scaled first, each factor by itself.  Monomials take p - 1 products on either side.  Coefficients are divisions
    by exponents e, which need a rounding unless e is a power of two, and so e >= 3: at most p - 2 in a monomial; where
    they are roots, on either side, e and the quotient are rounded, at most p - 1 times.
    """
    held = order <= 2**pairs.arithmetic.factors.precision  # exponents are numbers of the format
    found = []
    for p in range(order + 1):
        products = 2 * max(0, p - 1)
        if side == "both":
            products += 4 * max(0, p - 1)
        elif side != "none":
            products += max(0, p - 2) if held else 2 * max(0, p - 1)
        found.append((1.0 + pairs.scaled_query()) ** p * (1.0 + pairs.gamma(products, pairs.f)) - 1.0)
    return found


def _underflow(pairs: Pairs, sizes: _Sizes, features: int) -> float:
    """Return a bound on what underflow takes from a weight: half a tiny number in each step of each feature.

    N of scaling, N - 1 products and N - 1 divisions on either side, and a coefficient, times all that follows.
    """
    steps = features * (5 * sizes.order + 2) * pairs.tiny * sizes.largest_factor
    return steps * _power(float(np.prod(_sides(pairs))), sizes.order)


def _sides(pairs: Pairs) -> tuple[float, float]:
    """Return the largest components of the scaled q and of k, or 1."""
    q, k = (largest_of(np.abs(x), 1.0) for x in (pairs.scale * pairs.head.q, pairs.head.k))
    return q, k


def _power(size: float, order: int) -> float:
    """Return a power of a number of at least 1, infinite beyond float64."""
    return float(np.float64(size) ** order)


def _from_features(
    pairs: Pairs, sizes: _Sizes, found: WeightBound, features: int, tiny: float, *, largest: float
) -> WeightBound:
    """Return the weights with what features, and their sums over tokens, may exceed, and lose to underflow.

    Products with v underflow by a tiny number in every token and feature, times the other side's feature; so do those
    of x_j and v, times features of either side, and those of a read-out.  largest: by which features of q are
    multiplied while they are factors.
    """
    of_q, of_k = (_power(side, sizes.order) for side in _sides(pairs))
    absolute = 2 * features * (pairs.n + 2) * (pairs.tiny + tiny) * of_q * of_k * sizes.largest_factor
    overflows = found.overflows or pairs.overflows(max(1, pairs.n) * of_k, factors=max(of_q * largest, of_k))
    return replace(found, overflows=overflows, absolute=absolute)
