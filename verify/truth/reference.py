"""Certified attention outputs as arrays a program can use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from itertools import count, islice, takewhile
from math import inf, ldexp
from typing import Any

import numpy as np
from flint import arb, fmpq
from mpmath import mp
from numpy.typing import NDArray

from verify.arguments import checked_integer
from verify.attention.contract import Member
from verify.errors import CertificationError, InvalidRequestError, TooLargeError, unknown
from verify.integers import how_many
from verify.mechanisms.registry import CONVENTIONAL, named_member
from verify.numbers.arrays import BoolArray, Float64Array
from verify.numbers.balls import Balls, in_base_two
from verify.numbers.formats import Format, named_format
from verify.numbers.precision import MAX_BITS, bits_for, digits_of, flint_precision, mpmath_precision
from verify.numbers.rounding import UndecidedRoundingError, correctly_rounded
from verify.parallel.executors import workers_of
from verify.problem import Problem, require_problem
from verify.problem.selection import of_head, of_rows
from verify.truth.enclosure import Enclosure
from verify.truth.in_blocks import MEMORY_LIMIT, enclosures, memory_estimate
from verify.truth.ties import Place, rational_values

# More than any format or proof asks for; the time grows faster than the digits.
MAX_DIGITS = 1000

# What `Reference.rounded` does with what it cannot decide, and how many such places a message names.
UNDECIDED = ("refused", "nan")
MOST_NAMED = 20

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False, repr=False)
class Reference:
    """An attention output with proven digits.

    balls: [..., H, n_q, d_v], the enclosures.
    digits: certified digits, the least over all elements.
    absolute: True where a value is essentially zero: certified to lie below 10**-(2 digits asked for) of the mean of
    |v| under the magnitudes of the weights, or below 2**-32768.  Such a value has no digits of its own: it is kept as a
    ball around 0.
    normaliser_sign: [..., H, n_q], sign of the exact sum of weights: -1, 0 or 1.
    logs: [..., H, n_q], natural logarithms of the sums of weights (of the sink's too), as narrow as values; NaN where
    nothing is added up, the sum is not positive, or the mechanism's formula leaves a factor open.
    asked: the digits that were asked for.
    """

    problem: Problem
    member: Member
    balls: Balls
    digits: int
    absolute: BoolArray
    normaliser_sign: NDArray[np.int8]
    logs: Balls
    asked: int

    def __repr__(self) -> str:
        zeros = int(self.absolute.sum())
        return (
            f"Reference(exact {self.member.name} on {self.problem.name[:60]!r}: {list(self.balls.shape)},\n"
            f"          at least {how_many(self.digits, 'certified digit')}, {self.asked} asked for;"
            f" {how_many(zeros, 'element')} essentially zero)"
        )

    @property
    def value(self) -> Float64Array:
        """The float64 nearest to the centre of each ball, [..., H, n_q, d_v]; NaN where the formula has no value."""
        return self.balls.value

    @property
    def residual(self) -> Float64Array:
        """The float64 nearest to centre - value; value + residual hold the centre to 106 bits."""
        return self.balls.residual

    @property
    def radius(self) -> Float64Array:
        """Upper bounds: |exact - centre| <= radius."""
        return self.balls.radius

    def to_mpf(self) -> NDArray[Any]:
        """Return the centres of the balls as an object array of mpf, exact."""
        output = np.empty(self.balls.shape, dtype=object)
        with mpmath_precision(MAX_BITS):
            for place, defined in np.ndenumerate(self.balls.defined):
                mantissa, exponent = self.balls.mantissa[place], int(self.balls.exponent[place])
                output[place] = mp.ldexp(mp.mpf(mantissa), exponent) if defined else mp.nan
        return output

    def log_sum_exp(self, base: int | None = None) -> tuple[Float64Array, Float64Array]:
        """Return logarithms of sums of weights, [..., H, n_q], and their radii: |exact - returned| <= radius.

        log sum_t exp(s_t) for softmax; minus infinity in rows that add up nothing, NaN where there is none.  base: 2
        for logarithms to base 2, by default natural ones.  Raises InvalidRequestError for another base.
        """
        if base not in (None, 2):
            raise InvalidRequestError(f"logarithms to base {base!r}", "2, or None for natural ones", "choose one")
        balls = self.logs if base is None else in_base_two(self.logs)
        value = np.where(self.adds_up, balls.value, -np.inf)
        # the value is the centre rounded to float64
        radius = balls.radius + np.abs(balls.residual) * (1 + 2.0**-50)
        return value, np.where(self.adds_up, np.nextafter(radius, np.inf), 0.0)

    @property
    def adds_up(self) -> BoolArray:
        """Rows in which there is a weight at all, be it the sink's."""
        rows: BoolArray = self.problem.attended_rows | (self.problem.sinks is not None)
        return rows

    def rounded(self, format_: str | Format, *, undecided: str = "refused") -> NDArray[Any]:
        """Return the exact values correctly rounded to a format, as an array of its numpy type; NaN where undefined.

        format_: a format, or its name.
        Where a ball holds numbers that round differently, the value is found by algebra if that is rational, as ties
        are (`verify.truth.ties`), and otherwise its row is enclosed again with more digits.  A value that is
        essentially zero (absolute) and may have either sign becomes 0.0.

        undecided: "refused", or "nan" for NaN in the places that no precision up to the cap decides.  Raises
        CertificationError that lists these places if they are refused, and TooLargeError as `reference` does.
        """
        if undecided not in UNDECIDED:
            raise unknown(f"undecided {undecided!r}", undecided, UNDECIDED)
        format_ = named_format(format_)
        values = np.full(self.value.shape, np.nan)
        left = self._round(format_, values, np.ndindex(self.value.shape))
        self._round_rational(format_, values, left, by_formula=False)
        digits = list(takewhile(lambda digits: digits < 2 * MAX_DIGITS, (self.asked << i for i in count(1))))
        left = self._round_again(format_, values, left, digits[:1])
        self._round_rational(format_, values, left, by_formula=True)
        left = self._round_again(format_, values, left, digits[1:])
        if left and undecided == "refused":
            raise UndecidedRoundingError(_undecided_text(self, left))
        return values.astype(format_.dtype)

    def _round(self, format_: Format, values: Float64Array, places: Iterable[Place]) -> dict[Place, str]:
        """Round what balls decide, and return the other places, each with what it might round to."""
        left = {}
        with flint_precision(MAX_BITS):
            for place in places:
                ball = self.balls.ball(place)
                try:
                    values[place] = correctly_rounded(ball, format_)
                except UndecidedRoundingError as error:
                    if self.absolute[place] and abs(ball) < arb(format_.smallest) / 2:
                        values[place] = 0.0
                    else:
                        left[place] = str(error)
        return left

    def _round_rational(
        self, format_: Format, values: Float64Array, left: dict[Place, str], *, by_formula: bool
    ) -> None:
        """Round what algebra decides, and take it from what is left."""
        for place, exact in rational_values(self.problem, self.member, left, by_formula=by_formula).items():
            self._require_inside(place, exact)
            values[place] = correctly_rounded(exact, format_)
            del left[place]

    def _round_again(
        self, format_: Format, values: Float64Array, left: dict[Place, str], digits: Sequence[int]
    ) -> dict[Place, str]:
        """Enclose the rows of some places with more and more digits, round them, and return what is undecided then."""
        for more in digits:
            still: dict[Place, str] = {}
            for head in self.problem.each_head():
                mine = [place for place in left if place[:-2] == head.index]
                rows = sorted({place[-2] for place in mine})
                if not rows:
                    continue
                part = of_rows(of_head(self.problem, head, self.problem.name), rows)
                inside: dict[Place, Place] = {(rows.index(place[-2]), place[-1]): place for place in mine}
                found = np.full(part.output_shape, np.nan)
                again = reference(part, min(more, MAX_DIGITS), self.member)
                unclear = again._round(format_, found, inside)
                for own, place in inside.items():
                    values[place] = found[own]
                still.update({inside[own]: text for own, text in unclear.items()})
            left = still
        return left

    def _require_inside(self, place: Place, exact: Fraction) -> None:
        """Raise CertificationError unless a rational value lies in its ball: one of the two is wrong."""
        with flint_precision(MAX_BITS):
            ball = self.balls.ball(place)
            if not (ball - arb(fmpq(exact.numerator, exact.denominator))).contains(0):
                raise CertificationError(
                    f"{self.member.name} on {self.problem.name}: element {list(place)} is {ball.str(30)} by balls and "
                    f"{float(exact)!r} by algebra"
                )

    @property
    def undefined_rows(self) -> BoolArray:
        """Rows whose weights sum to exactly zero although something is attended, [..., H, n_q]."""
        rows: BoolArray = (self.normaliser_sign == 0) & self.problem.attended_rows
        return rows

    @property
    def nonpositive_rows(self) -> BoolArray:
        """Rows that attend to something and whose exact sum of weights is zero or negative, [..., H, n_q]."""
        rows: BoolArray = (self.normaliser_sign <= 0) & self.problem.attended_rows
        return rows


def _undecided_text(truth: Reference, left: Mapping[Place, str]) -> str:
    """Return what is to be said of places whose rounding nothing decides."""
    named = "; ".join(f"element {list(place)}, {text}" for place, text in islice(left.items(), MOST_NAMED))
    more = f"; and {len(left) - MOST_NAMED} more" if len(left) > MOST_NAMED else ""
    roundings = how_many(len(left), "rounding")
    where = f"{truth.member.name} on {truth.problem.name}: {roundings} undecided at {MAX_DIGITS} digits"
    return f'{where}: {named}{more}; undecided="nan" leaves them out'


def _apart(one: tuple[int, int], other: tuple[int, int]) -> float:
    """Return the difference of two numbers m 2**e, to 2**-52 of itself; infinite beyond float64."""
    least = min((e for m, e in (one, other) if m), default=0)
    units, subtracted = (m << e - least if m else 0 for m, e in (one, other))
    units -= subtracted
    more = max(0, units.bit_length() - 64)
    try:
        return ldexp(units >> more, least + more)
    except OverflowError:
        return inf if units > 0 else -inf


def difference(one: Reference, other: Reference) -> tuple[Float64Array, Float64Array]:
    """Return one - other and its radius: |exact difference - returned| <= radius; NaN where either has no value.

    Centres are taken as value + residual, which misses 2**-106 of each.  Their difference is a sum of four numbers, the
    rounding errors of which are at most 2**-106 of the two values as well, but for the last one; so it is right to
    2**-104 (|value| + |value|).  Where that is not far below the difference itself, the centres are subtracted exactly.
    """
    if one.value.shape != other.value.shape:
        raise InvalidRequestError(
            f"exact values of shapes {one.value.shape} and {other.value.shape}",
            "the same shape",
            "compare like with like",
        )
    with np.errstate(all="ignore"):
        a, b = one.value, -other.value
        high = a + b
        rest = high - a
        low = (a - (high - rest)) + (b - rest)  # high + low = a + b, without error (Knuth's two-sum)
        gap = high + (low + (one.residual - other.residual))
        unclear = ~(2.0**-104 * (np.abs(a) + np.abs(b)) + 2.0**-1072 <= 2.0**-54 * np.abs(gap))
    for place in zip(*np.nonzero(unclear & ~np.isnan(a) & ~np.isnan(b)), strict=True):
        gap[place] = _apart(
            *((balls.mantissa[place], int(balls.exponent[place])) for balls in (one.balls, other.balls))
        )
    with np.errstate(under="ignore"):
        # the gap is right to 2**-54 and rounded to 2**-53 of itself; the factor covers the roundings of this line
        return gap, (one.radius + other.radius + 2.0**-52 * np.abs(gap)) * (1.0 + 2.0**-50) + 2.0**-1074


def reference(
    problem: Problem,
    digits: int = 30,
    member: str | Member = CONVENTIONAL,
    *,
    executor: Executor | None = None,
    memory_limit: int = MEMORY_LIMIT,
    progress: Progress = lambda done, rows: None,
) -> Reference:
    """Return the exact attention output of one mechanism, enclosed to `digits` digits.

    member: a mechanism with its parameters, as a name or an object: softmax, logexp, "taylor:order=3", or of one of
    your own, MINE.member(order=3).  y = sum_t w_t v_t / sum_t w_t, w_t the mechanism's weights.

    Every element has a relative radius of at most 10**-digits, except where it is essentially zero (see
    Reference.absolute).  executor: enclose blocks of rows in its processes (never threads: flint's precision is one for
    all of them); without one, in this process.  progress: told the rows done and all rows.

    Raises InvalidRequestError for an unknown mechanism, parameters it does not take, digits outside 1..1000 or an
    executor of threads; TooLargeError if an estimate of the memory needed exceeds the limit (bytes); CertificationError
    if the precision cap does not suffice; WorkerDiedError if a process of the executor dies.

        reference(problem, 50, "taylor:order=3").value
    """
    chosen = named_member(member)
    (found,) = _served(problem, [chosen], digits, executor, memory_limit, progress, decimals=True).values()
    return found


def references(
    problem: Problem,
    members: Sequence[Member],
    digits: int = 30,
    *,
    executor: Executor | None = None,
    memory_limit: int = MEMORY_LIMIT,
    progress: Progress = lambda done, rows: None,
) -> dict[Member, Reference]:
    """Return the exact outputs of several members of one mechanism; the orders of Taylor in one pass over the powers.

    Takes and raises the same as `reference`, but counts no memory for decimals: `members_at_once` says how many members
    fit.
    """
    return _served(problem, members, digits, executor, memory_limit, progress, decimals=False)


def _served(
    problem: Problem,
    members: Sequence[Member],
    digits: int,
    executor: Executor | None,
    memory_limit: int,
    progress: Progress,
    *,
    decimals: bool,
) -> dict[Member, Reference]:
    require_problem(problem)
    memory_limit = checked_integer("memory limit", memory_limit, 0)
    chosen = list(dict.fromkeys(members))
    mechanisms = {member.mechanism for member in chosen}
    for mechanism in mechanisms:
        refusal = mechanism.refusal(problem)
        if refusal is not None:
            raise refusal
    if len(mechanisms) > 1:
        raise InvalidRequestError(
            f"members of {len(mechanisms)} mechanisms", "members of one", "ask for each by itself"
        )
    digits = checked_integer("digits", digits, 1, MAX_DIGITS)
    if isinstance(executor, ThreadPoolExecutor):
        raise InvalidRequestError("an executor of threads", "one of processes", "use a ProcessPoolExecutor")
    workers = 1 if executor is None else workers_of(executor)
    needed = memory_estimate(problem, len(chosen), digits, workers, decimals=decimals)
    if needed > memory_limit:
        raise TooLargeError(
            f"exact values of {problem.name} that would need about {needed / 2**30:.3g} GiB",
            f"at most {memory_limit / 2**30:.3g} GiB",
            "take fewer tokens, queries (--rows) or digits (--digits), or more memory (memory_limit, --memory)",
        )
    truths = {member: _Collected(problem, digits) for member in chosen}
    done, rows = 0, problem.heads * problem.queries
    progress(done, rows)
    if not chosen:
        return {}
    for block, found in enclosures(problem, chosen, digits, executor):
        for member, truth in truths.items():
            truth.add((*block.index, block.rows), found[member])
        done += len(block.rows)
        progress(done, rows)
    return {member: truth.reference(member) for member, truth in truths.items()}


class _Collected:
    """The enclosures of one member as they come in."""

    def __init__(self, problem: Problem, digits: int) -> None:
        self.problem, self.asked, self.fewest = problem, digits, bits_for(MAX_DIGITS) + 1
        shape = problem.output_shape
        self.absolute = np.zeros(shape, dtype=np.bool_)
        self.sign = np.zeros(shape[:-1], dtype=np.int8)
        self.balls = Balls.zeros(shape)
        self.logs = Balls.zeros(shape[:-1])

    def add(self, place: Any, found: Enclosure) -> None:
        self.absolute[place] = found.absolute
        self.sign[place] = found.sign
        self.balls.put(place, found.balls)
        self.logs.put(place, found.logs)
        self.fewest = min(self.fewest, int(found.bits.min(initial=self.fewest)))

    def reference(self, member: Member) -> Reference:
        return Reference(
            problem=self.problem,
            member=member,
            balls=self.balls,
            digits=digits_of(self.fewest - 1),
            absolute=self.absolute,
            normaliser_sign=self.sign,
            logs=self.logs,
            asked=self.asked,
        )
