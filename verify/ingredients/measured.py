"""The relative error of a function of somebody's own, measured on numbers of a format against exact powers in balls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from flint import arb

from verify.bounds.logits import above
from verify.errors import InvalidRequestError
from verify.ingredients.function import Function
from verify.ingredients.maximum import ErrorRange, Extreme
from verify.ingredients.target import Target
from verify.numbers.arrays import Float64Array
from verify.numbers.formats import Format
from verify.numbers.precision import flint_precision
from verify.numbers.rounding import correctly_rounded

# All numbers of a range are tried if they are no more than these: all that a format of 16 bits has.
MOST_NUMBERS = 1 << 16

# Of more, at most as many.
SAMPLE = 1 << 16

_BITS = 192  # leaves the error of a float64 number, of 2**-53 or so, more than a hundred bits


@dataclass(frozen=True)
class Measured:
    """What was measured: the range of the error on `numbers` of the `of` numbers of a format that the range has.

    undefined: on how many of them the function is NaN or infinite, which counts as an infinite error.
    """

    error: ErrorRange
    format: str
    numbers: int
    of: int
    undefined: int


def measured_error(function: Function, target: Target) -> Measured:
    """Return the range of f(x) / b^x - 1 on all numbers of the function's format in a range, or on a sample of them."""
    x, of = numbers_of(function.format, target)
    y = function.values(x)
    finite = np.isfinite(y)
    with flint_precision(_BITS):
        rate = target.rate()
        balls = [
            arb(value) * (-rate * arb(at)).exp() - 1 if known else arb.pos_inf()
            for at, value, known in zip(x.tolist(), y.tolist(), finite.tolist(), strict=True)
        ]
        order = [float(ball) for ball in balls]
        found = ErrorRange(*(_extreme(pick, balls, order, x) for pick in (min, max)))
    return Measured(found, function.format.name, len(x), of, int((~finite).sum()))


def _extreme(
    pick: Callable[[Iterable[float]], float], balls: Sequence[arb], order: Sequence[float], x: Float64Array
) -> Extreme:
    """Return the smallest or the largest of errors.

    order: the errors rounded to float64.  Where one rounds further out than another, it is further out.
    """
    outermost = pick(order)
    same = [ball for ball, error in zip(balls, order, strict=True) if error == outermost]
    place = Fraction(float(x[order.index(outermost)]))
    return Extreme(pick(-above(-ball) for ball in same), pick(map(above, same)), place)


def ends_of(format_: Format, target: Target) -> tuple[float, float]:
    """Return the first and the last number of a format in a range; InvalidRequestError if there is none."""
    first, last = _numbers(format_, _places(format_, target)).tolist()
    return first, last


def numbers_of(format_: Format, target: Target) -> tuple[Float64Array, int]:
    """Return numbers of a format in a range, in order, and how many there are; InvalidRequestError if there is none.

    All, if they are MOST_NUMBERS at most.  Otherwise a SAMPLE: half of it evenly spaced, rounded to the format, and
    half evenly spaced in the order of the format's numbers, so that small ones are among them.
    """
    first, last = _places(format_, target)
    count = last - first + 1
    if count <= MOST_NUMBERS:
        return _numbers(format_, range(first, last + 1)), count
    half = SAMPLE // 2
    in_order = _numbers(format_, [first + (count - 1) * i // (half - 1) for i in range(half)])
    even = format_.rounded(np.linspace(in_order[0], in_order[-1], half)).astype(np.float64)
    chosen = np.unique(np.concatenate([in_order, np.clip(even, in_order[0], in_order[-1])]))
    return chosen + 0.0, count  # no -0.0


def _places(format_: Format, target: Target) -> tuple[int, int]:
    """Return where the first and the last number of a range stand in the order of the format's numbers, 0 at 0."""
    first, last = _place(format_, target.low, target.open_low, 1), _place(format_, target.high, target.open_high, -1)
    if last < first:
        raise InvalidRequestError(
            f"range {target.range}, in which there is no number of {format_.name}", "one at least", "widen it"
        )
    return first, last


def _place(format_: Format, end: Fraction, is_open: bool, inwards: int) -> int:
    """Return where the outermost number up to an end stands; inwards: 1 at the lower end, -1 at the upper one."""
    largest = Fraction(format_.largest)
    near = correctly_rounded(min(max(end, -largest), largest), format_)
    place = _place_of(format_, near)
    outside = (Fraction(near) - end) * inwards
    return place + inwards if outside < 0 or (outside == 0 and is_open) else place


def _place_of(format_: Format, number: float) -> int:
    bits = int(np.array(abs(number)).astype(format_.dtype).view(f"uint{format_.width}"))
    return -bits if number < 0 else bits


def _numbers(format_: Format, places: Sequence[int]) -> Float64Array:
    """Return the numbers of a format that stand at places in their order."""
    order = np.array(places, dtype=np.int64)
    sizes = np.abs(order).astype(f"uint{format_.width}").view(format_.dtype).astype(np.float64)
    return np.where(order < 0, -sizes, sizes)
