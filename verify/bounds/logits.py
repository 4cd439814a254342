"""Bounds on what cutting exp after a power does to weights and outputs, certified with ball arithmetic.

With T_N(s) = sum over p <= N of s^p / p!, the relative deviation of a weight is delta(s) = T_N(s) exp(-s) - 1, and its
derivative is -exp(-s) s^N / N!: delta is minus the regularised incomplete gamma function P(N + 1, s) (NIST Digital
Library of Mathematical Functions, 8.4.9 and 8.2.4).  For even N it falls everywhere and has the sign of -s.  For odd N
it rises up to 0 at s = 0 and falls after it, so that it is never positive.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import factorial, inf, nextafter

import numpy as np
from flint import arb, fmpz_poly
from numpy.typing import NDArray

from verify.errors import CertificationError, InvalidRequestError
from verify.numbers.arrays import Float64Array
from verify.numbers.precision import MAX_BITS, bits_for, flint_precision
from verify.problem import Problem
from verify.truth import check_order

# Bits to which bounds are worked out: relative to the bound, not to 1.
_BITS = 60


def relative_truncation(order: int, radius: float) -> float:
    """Return an upper bound on |T_N(s) - exp(s)| / exp(s) over |s| <= R, tight to float64: that at s = -R.

    |delta(-R)| = integral from 0 to R of exp(u) u^N / N! >= that with exp(-u), which is |delta(R)|.
    """
    return max(abs(x) for x in deviation_range(order, -radius, radius))


def deviation_range(order: int, low: float, high: float) -> tuple[float, float]:
    """Return bounds on delta(s) = T_N(s) exp(-s) - 1 over low <= s <= high, rounded outwards to float64."""
    check_order(order)
    _check_range(low, high)
    ends = [_resolved(partial(_deviation, order, end)) for end in (low, high)]
    least, most = min(down for down, _ in ends), max(up for _, up in ends)
    return (least, max(most, 0.0)) if order % 2 and low <= 0.0 <= high else (least, most)


def output_bound(low: float, high: float, order: int) -> float:
    """Return a bound on |y' - y| / (max v - min v) for softmax weights cut after a power, logits between low and high.

    With kappa the largest of the factors 1 + delta over the smallest, sets A of keys have p'(A) / p'(not A) <= kappa
    p(A) / p(not A).  The largest p'(A) - p(A) that this allows is (sqrt(kappa) - 1) / (sqrt(kappa) + 1), at p(A) = 1 /
    (1 + sqrt(kappa)); and y' - y <= (max v - min v) max over A of (p'(A) - p(A)).  Two keys attain it.  Infinite unless
    all weights are sure to be positive.
    """
    check_order(order)
    _check_range(low, high)

    def bound() -> arb:
        factors = [_factor(order, end) for end in (low, high)]
        least = factors[0].min(factors[1])
        most = factors[0].max(factors[1]) if order % 2 == 0 or not low <= 0.0 <= high else arb(1)
        excess = (most - least) / least  # kappa - 1
        return excess / (1 + (1 + excess).sqrt()) ** 2 if least > 0 else arb.pos_inf()

    if order % 2 and not _resolved(partial(_factor, order, low))[0] > 0:
        return inf
    return 0.0 if low == high else min(1.0, _resolved(bound)[1])


def truncation_bound(problem: Problem, order: int) -> Float64Array:
    """Return a bound on |exact Taylor - exact softmax| for every output element, [..., H, n_q, d_v].

    `output_bound` of each row's logits, worked out in float64 and widened by what that can be off, times the range of
    the attended v.  0 in rows that attend to nothing; infinite where some weight may not be positive.
    """
    bound = np.zeros(problem.output_shape)
    scale = problem.head_size**-0.5 if problem.scale is None else problem.scale
    cut: dict[tuple[float, float], float] = {}
    for head in problem.each_head():
        attended = head.attended()
        with np.errstate(over="ignore", invalid="ignore"):
            logits = scale * (head.q @ head.k.T)
            # products, sums and the scale: d + 3 roundings, and as much again to be safe
            size = abs(scale) * (np.abs(head.q) @ np.abs(head.k).T)
            doubt = 2 * (problem.head_size + 3) * 2.0**-53 * size
            doubt += problem.head_size * 2.0**-1021 * max(1.0, abs(scale))
            lows = np.where(attended, logits - doubt, inf).min(axis=1, initial=inf)
            highs = np.where(attended, logits + doubt, -inf).max(axis=1, initial=-inf)
        spreads = _spreads(head.v, attended)
        for row, (low, high) in enumerate(zip(lows.tolist(), highs.tolist(), strict=True)):
            if not attended[row].any():
                continue
            if not (np.isfinite(low) and np.isfinite(high)):
                bound[head.index][row] = inf
                continue
            if (low, high) not in cut:
                cut[low, high] = output_bound(low, high, order)
            with np.errstate(invalid="ignore", over="ignore"):
                found = cut[low, high] * spreads[row]
            # a range of zero leaves nothing to err in, whatever positive weights do
            bound[head.index][row] = np.where((spreads[row] == 0.0) & np.isfinite(cut[low, high]), 0.0, found)
        bound[head.index] *= 1.0 + 2.0**-50  # the product above was rounded
    return np.where(np.isnan(bound), inf, bound)


def positivity_radius(order: int, digits: int = 30) -> arb | None:
    """Return the R at which T_N(-R) = 0 for odd N, as a ball with a radius below 10^-digits; None for even N.

    T_N' = T_{N-1}, and even orders are positive everywhere (at a minimum, T_N = s^N / N! there), so that odd ones rise
    and have one zero: weights are positive for s > -R and negative for s < -R.  The ball is an interval at whose ends
    T_N is shown to have either sign.  Raises CertificationError if the precision cap does not suffice.
    """
    check_order(order)
    if order % 2 == 0:
        return None
    polynomial = fmpz_poly([factorial(order) // factorial(p) * (-1) ** p for p in range(order + 1)])  # N! T_N(-R)
    bits = bits_for(digits) + 4 * order.bit_length() + 16
    with flint_precision(min(MAX_BITS, 4 * bits)):
        low, high = arb(0), arb(order + 1)  # T_N(-N - 1) < 0: pairs of terms of an alternating sum that grows
        if not (polynomial(low) > 0 and polynomial(high) < 0):
            raise CertificationError(f"no zero of order {order} is certain")
        for _ in range(bits + order.bit_length()):
            middle = (low + high) / 2
            value = polynomial(middle)
            if value > 0:
                low = middle
            elif value < 0:
                high = middle
            elif value.is_zero():
                low = high = middle
            else:
                break
        found: arb = low.union(high)
        if not found.rad() < arb(10) ** -digits:
            raise CertificationError(f"the zero of order {order} to {digits} digits exceeds the precision cap")
        return found


def _check_range(low: float, high: float) -> None:
    if not -inf < low <= high < inf:
        raise InvalidRequestError(f"logits from {low} to {high}", "two finite numbers, the smaller first", "order them")


def _factor(order: int, s: float) -> arb:
    """Return 1 + delta(s) = T_N(s) exp(-s), at the precision there is."""
    term = total = arb(1)
    for p in range(1, order + 1):
        term = term * arb(s) / p
        total += term
    return total * (-arb(s)).exp()


def _deviation(order: int, s: float) -> arb:
    return _factor(order, s) - 1


def _resolved(value: Callable[[], arb]) -> tuple[float, float]:
    """Return float64 numbers below and above a value, worked out at a precision that gives it 40 bits.

    If no precision up to the cap does, the value is as good as 0, and the numbers say how far.
    """
    bits = _BITS
    while True:
        with flint_precision(min(bits, MAX_BITS)):
            found = value()
            if bits >= MAX_BITS or found.rel_accuracy_bits() >= 40 or (found.is_exact() and found.is_finite()):
                return -_above(-found), _above(found)
        bits *= 2


def _above(ball: arb) -> float:
    """Return a float64 that no number of the ball exceeds."""
    top = float(ball.upper())  # to nearest; infinite beyond float64
    return top if arb(top) >= ball else nextafter(top, inf)


def _spreads(v: Float64Array, attended: NDArray[np.bool_]) -> Float64Array:
    """Return max v - min v over the keys that each row attends to, [n_q, d_v], rounded up."""
    if attended.all():
        spread = _difference(v.max(axis=0, initial=-inf), v.min(axis=0, initial=inf))
        return np.broadcast_to(spread, (len(attended), v.shape[1]))
    lengths = attended.sum(axis=1)
    if _prefixes(attended, lengths) and len(v):
        reached = [f.accumulate(v, axis=0)[np.maximum(lengths, 1) - 1] for f in (np.maximum, np.minimum)]
        return _difference(reached[0], reached[1])
    found = np.zeros((len(attended), v.shape[1]))
    for row in np.flatnonzero(lengths):
        seen = v[attended[row]]
        found[row] = _difference(seen.max(axis=0), seen.min(axis=0))
    return found


def _prefixes(attended: NDArray[np.bool_], lengths: NDArray[np.int64]) -> bool:
    return bool((attended == (np.arange(attended.shape[1]) < lengths[:, None])).all())


def _difference(high: Float64Array, low: Float64Array) -> Float64Array:
    """Return high - low rounded up; of equal numbers it is 0 exactly."""
    return np.where(high == low, 0.0, np.nextafter(high - low, inf))
