"""What an error of every weight does to outputs: a bound, and what is measured beside exact outputs.

A weight is w_t (1 + d_t) where the exact one is w_t.  With p_t = w_t / sum w and y = sum p_t v_t,

    y' - y = sum_t p_t (1 + d_t) (v_t - y) / sum_t p_t (1 + d_t) = sum_t p_t d_t (v_t - y) / (1 + sum_t p_t d_t),

for sum_t p_t (v_t - y) = 0.  If |d_t| <= e < 1 for all t, then

    |y' - y| <= e / (1 - e) sum_t p_t |v_t - y|.

A factor that all weights share changes no output: where the errors lie between l and h, 1 + l > 0, weights may be
divided by 1 + (l + h) / 2, and e = (h - l) / (2 + l + h) is enough.  It is at most max(|l|, |h|).  Both sides hold for
each element of y.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import inf, nextafter

import numpy as np

from verify.ingredients.maximum import ErrorRange
from verify.ingredients.target import Target
from verify.inputs import SampleInput, SyntheticInput
from verify.measure.metrics import computed_error, magnitudes, root_mean_square
from verify.numbers.arrays import Float64Array
from verify.problem import Problem
from verify.truth import Reference, reference

# Where it is measured: seeded normal inputs, and activations of a trained model.
INPUTS = (SyntheticInput("normal", 64, 256), SampleInput("minilm-layer05"))

_DIGITS = 20

# What evaluating the bound in float64 may have lost of it: every term is a sum of positive numbers.
_EVALUATION = 1.0 + 2.0**-30

# Values in place of powers b^x, for x in the range, [n] -> [n].
Values = Callable[[Float64Array], Float64Array]


@dataclass(frozen=True)
class Effect:
    """What is left of an error in the outputs of one input, each number relative to the exact outputs.

    All are root mean squares over all elements, divided by that of the exact outputs.  relative: of what is measured,
    in float64 with these weights.  bound: what it cannot exceed but for float64's own roundings; infinite where weights
    may not be positive.  rounding: of what is measured with exact weights, rounded to float64.
    """

    input: str
    relative: float
    bound: float
    rounding: float


def shared_error(error: ErrorRange) -> float:
    """Return e of the module, rounded up: half the range of the errors about its middle; infinite from 1 on."""
    low, high = error.least.lower, error.most.upper
    if not (error.positive and high < inf):
        return inf
    exact = (Fraction(high) - Fraction(low)) / (2 + Fraction(low) + Fraction(high))
    return nextafter(float(exact), inf)


def effects(values: Values, target: Target, error: ErrorRange) -> Iterator[Effect]:
    """Yield what values in place of powers do to the outputs of each of INPUTS."""
    shared = shared_error(error)
    factor = shared / (1.0 - shared) * _EVALUATION if shared < 1.0 else inf
    for source in INPUTS:
        problem, exact = _exact(source)
        size = root_mean_square(np.abs(exact.value))
        computed = [_outputs(problem, target, each) for each in (values, lambda x: powers(target, x))]
        off = [root_mean_square(magnitudes(computed_error(y, exact))) for y in computed]
        spread = root_mean_square(_spread(problem, exact.value))
        yield Effect(source.name, off[0] / size, factor * spread / size, off[1] / size)


@cache
def _exact(source: SyntheticInput | SampleInput) -> tuple[Problem, Reference]:
    problem = source.load()
    return problem, reference(problem, _DIGITS)


def _outputs(problem: Problem, target: Target, values: Values) -> Float64Array:
    """Return outputs in float64 whose weights are values(f) b^s for the logits' s + f = logit log_b e."""
    outputs = np.zeros(problem.output_shape)
    with np.errstate(all="ignore"):
        for head in problem.each_head():
            attended, logits = head.attended(), head.logits()
            highest = np.where(attended, logits, -inf).max(axis=1, keepdims=True)
            rest, shift = reduced((logits - highest)[attended] / target.float_rate, target)
            weights = np.zeros(logits.shape)
            weights[attended] = values(rest) * powers(target, shift)
            outputs[head.index] = weights @ head.values / weights.sum(axis=1, keepdims=True)
    return outputs


def reduced(x: Float64Array, target: Target) -> tuple[Float64Array, Float64Array]:
    """Return f in the range and s with x = f + s.

    s is 0 where x lies in the range itself, and otherwise the multiple of the range's width that brings it there, as
    2^x = 2^floor(x) 2^(x - floor(x)) has it on [0, 1).
    """
    low, high = float(target.low), float(target.high)
    inside = (x >= low) & (x <= high)
    shift = np.where(inside, 0.0, np.floor((x - low) / (high - low)) * (high - low))
    return np.clip(x - shift, low, high), shift


def powers(target: Target, x: Float64Array) -> Float64Array:
    """Return b^x in float64."""
    if target.base is None:
        return np.exp(x)
    return np.exp2(x) if target.base == 2 else np.power(float(target.base), x)


def _spread(problem: Problem, y: Float64Array) -> Float64Array:
    """Return sum_t p_t |v_t - y| for every output element, in float64."""
    spread = np.zeros(problem.output_shape)
    for head in problem.each_head():
        attended, logits = head.attended(), head.logits()
        weights = np.exp(np.where(attended, logits, -inf) - np.where(attended, logits, -inf).max(axis=1, keepdims=True))
        shares = weights / weights.sum(axis=1, keepdims=True)
        for row, own in enumerate(shares):
            spread[(*head.index, row)] = own @ np.abs(head.values - y[(*head.index, row)])
    return spread
