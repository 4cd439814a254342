"""Mechanisms whose weights are a function of the logit: w_t = g(s_t), s_t = scale q.k_t."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from flint import arb
from numpy.typing import NDArray

from verify.attention.computed import AttentionOutput, normalised
from verify.attention.contract import Attended, Form, Mechanism, Member, Pullback, Terms, TileWeights
from verify.attention.logits import BallLogits
from verify.attention.operands import logits_of, operands
from verify.attention.tiles import as_ball, only_attended
from verify.bounds.logits import RatioTable, extreme_logits, output_bounds
from verify.bounds.pairs import Pairs, WeightBound
from verify.families.costs import cache_cost
from verify.families.pullback import LogitPullback, ball_duals
from verify.families.rounded import RoundedField
from verify.families.tracked import TrackedField, tracked_weights
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.arrays import BoolArray, Float64Array
from verify.numbers.duals import Dual, DualField
from verify.numbers.fields import BallField, Field, FloatField, Number
from verify.parallel.blocks import Block
from verify.problem import Head, Problem


def pairs(problem: Problem, arithmetic: Arithmetic, member: Member) -> AttentionOutput:
    """Return sum_t g(s_t) v_t / sum_t g(s_t), every step of g rounded to the arithmetic's sums."""
    parts = operands(problem, arithmetic)
    kernel = member.mechanism
    assert isinstance(kernel, LogitKernel)
    with np.errstate(all="ignore"):
        field = RoundedField(arithmetic, "sums")
        logits = logits_of(problem, parts)
        weights = field.array(kernel.function(field, field.number(logits), member), logits.shape)
        if parts.attended is not None:
            weights = np.where(parts.attended, weights, arithmetic.dtype.type(0))
        return normalised(parts, weights)


def pairs_bound(pairs: Pairs, member: Member) -> WeightBound:
    """Bound the weights of `pairs`: g runs on logits that are off by their own rounding, and keeps track of its own.

    Exact logits are off from those of float64 by d products and sums, and by the scale, which takes two roundings: less
    than twice gamma_(d + 3), as in `verify.bounds.logits.logit_range`.
    """
    kernel = member.mechanism
    assert isinstance(kernel, LogitKernel)
    field = TrackedField(pairs.arithmetic.sums, pairs.carrier)
    logits = field.number(pairs.logits, pairs.moved_logits(), pairs.logit_doubt())
    return tracked_weights(pairs, field.tracked(kernel.function(field, logits, member)))


class LogitKernel(Mechanism):
    """A function of the logit, declared once.

    A subclass has name, description, source and

        def function(self, f, s, member):
            return f.exp(s)

    Exact values, a form that goes pair by pair, its costs and a bound on its rounding follow from it, and so does a
    bound on the distance from softmax where g is positive.
    """

    of_logits = True
    forms: tuple[Form, ...] = (
        Form(
            "pairs",
            "the function on the logits, every pair of tokens",
            pairs,
            cache_cost,
            rounding=pairs_bound,
            adjusts=True,
            by_row=True,
        ),
    )

    @abstractmethod
    def function(self, f: Field, s: Number, member: Member) -> Number:
        """Return g(s), in any field."""

    def row(self, f: Field, logits: Sequence[Number], member: Member) -> list[Number]:
        """Return g of the logits of one query, up to a factor that they share."""
        return [self.function(f, s, member) for s in logits]

    def weights(
        self, f: Field, q: Sequence[Number], keys: Sequence[Sequence[Number]], scale: Number, member: Member
    ) -> list[Number]:
        """Return the weights of the keys of one query, up to a factor that they share."""
        return self.row(f, [f.dot(q, k) * scale for k in keys], member)

    def balls(self, block: Block, members: Sequence[Member], *, magnitudes: bool) -> Iterable[TileWeights]:
        """Return the weights of a block in balls: logits by a matrix product, then g of each."""
        return [_FunctionOfLogits(block, self, member, magnitudes) for member in members]

    def pullback(self, block: Block, member: Member) -> Pullback:
        """Return the weights of a block with their derivatives, which follow from the formula."""
        field = ball_duals()
        return LogitPullback(block, lambda s: self.function(field, s, member))

    def float_weights(
        self, head: Head, rows: slice, attended: BoolArray, member: Member
    ) -> tuple[Float64Array, Float64Array]:
        """Return weights in float64, and their magnitudes."""
        weights = np.broadcast_to(self.function(FloatField(), head.logits(rows), member), attended.shape)
        return np.asarray(weights), np.abs(weights)

    def slopes(
        self, logits: NDArray[Any], attended: BoolArray, member: Member, arithmetic: Arithmetic
    ) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Return g(s) and g'(s), every step rounded."""
        field = RoundedField(arithmetic, "sums")
        duals = DualField(field, lambda x: field.number((x.array > 0).astype(x.array.dtype)))
        found = self.function(duals, Dual(field.number(logits), field.exact(1.0)), member)
        return field.array(found.value, logits.shape), field.array(found.slope, logits.shape)

    def formula_bound(self, problem: Problem, member: Member) -> Float64Array | None:
        """Return a bound on |exact - exact softmax|, from the range of g(s) / exp(s) over the logits of each row."""
        return output_bounds(problem, self.row_bound(problem, member))

    def row_bound(self, problem: Problem, member: Member) -> Callable[[float, float], float]:
        """Return what bounds |y' - y| / (max v - min v) for logits of the problem from low to high."""
        low, high = extreme_logits(problem)
        if not -np.inf < low <= high < np.inf:
            return lambda low, high: np.inf
        table = RatioTable(lambda s: self.function(BallField(), s, member), low, high)
        return table.bound


class _FunctionOfLogits(TileWeights):
    """g(s_t), its absolute value where magnitudes are asked for."""

    def __init__(self, block: Block, kernel: LogitKernel, member: Member, magnitudes: bool) -> None:
        self.logits = BallLogits(block)
        self.kernel, self.member, self.magnitudes = kernel, member, magnitudes

    def _weights(self, logits: list[arb]) -> list[arb]:
        field = BallField()
        weights = [as_ball(self.kernel.function(field, s, self.member)) for s in logits]
        return [abs(w) for w in weights] if self.magnitudes else weights

    def terms(self, keys: slice, attended: Attended) -> Terms:
        """Yield what the keys of a tile add."""
        weights = self._weights(only_attended(attended, self.logits.of(keys)))
        yield self.member, 1, only_attended(attended, weights)

    def factor(self) -> tuple[int, list[arb]]:
        """Return none: the function is taken as it is."""
        return 1, [arb(0)] * len(self.logits.block.rows)

    def sink(self) -> Terms:
        """Yield what the sink adds."""
        yield self.member, 1, self._weights([self.logits.sink]) * len(self.logits.block.rows)
