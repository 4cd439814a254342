"""Conventional attention: what every other mechanism is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.arguments import Whole
from verify.attention.contract import Form, Member, Pullback, TileWeights
from verify.families.logit import LogitKernel
from verify.families.pullback import LogitPullback, ball_duals
from verify.mechanisms.softmax import bounds, forms
from verify.mechanisms.softmax.costs import conventional_cost, operations
from verify.mechanisms.softmax.exact import SoftmaxWeights
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.arrays import BoolArray, Float64Array
from verify.numbers.fields import Field, Number
from verify.parallel.blocks import Block
from verify.problem import Head, Problem


class Softmax(LogitKernel):
    """w_t = exp(s_t), s_t = scale q.k_t."""

    name = "softmax"
    description = "conventional attention: exp of the logits"
    source = "SA section 2"
    formula_error = None
    forms = (
        Form(
            "softmax",
            "conventional attention, shifted by the row maximum, two passes",
            forms.softmax,
            conventional_cost,
            rounding=bounds.two_passes,
            operations=operations,
            published=True,
            adjusts=True,
            by_row=True,
        ),
        Form(
            "online",
            f"the same in one pass over the keys, {forms.ONLINE_KEYS} at a time, with a running maximum",
            forms.online,
            conventional_cost,
            rounding=bounds.online,
            published=True,
            adjusts=True,
            by_row=True,
            options={"keys": Whole(forms.ONLINE_KEYS, least=1)},
        ),
    )

    def function(self, f: Field, s: Number, member: Member) -> Number:
        """Return exp(s)."""
        return f.exp(s)

    def row(self, f: Field, logits: Sequence[Number], member: Member) -> list[Number]:
        """Return exp(s_t - s*), s* near the largest: it cancels in the quotient, and no exponential is large."""
        top = f.largest(logits)
        return [f.exp(s - top) for s in logits]

    def balls(self, block: Block, members: Sequence[Member], *, magnitudes: bool) -> Iterable[TileWeights]:
        """Return the weights of a block in balls; they are their own magnitudes."""
        return [SoftmaxWeights(block, member) for member in members]

    def pullback(self, block: Block, member: Member) -> Pullback:
        """Return exp(s_t - s*), which is its own derivative, s* near the largest logit of the row."""
        field = ball_duals()
        return LogitPullback(block, lambda s: self.function(field, s, member), SoftmaxWeights(block, member).tops)

    def float_weights(
        self, head: Head, rows: slice, attended: BoolArray, member: Member
    ) -> tuple[Float64Array, Float64Array]:
        """Return exp(s_t) over its sum, which neither overflows nor underflows as a whole."""
        found = forms.shares(head.logits(rows), attended)
        return found, found

    def slopes(
        self, logits: NDArray[Any], attended: BoolArray, member: Member, arithmetic: Arithmetic
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return exp(s_t - s*), s* the largest of the row, which is its own derivative."""
        top = np.where(attended, logits, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
        below = arithmetic.as_sum(logits - np.where(np.isfinite(top), top, 0.0).astype(logits.dtype))
        found = arithmetic.as_sum(np.exp(np.minimum(below, 0)))
        return found, found

    def formula_bound(self, problem: Problem, member: Member) -> Float64Array | None:
        """Return nothing: it has no distance from itself."""
        return None


SOFTMAX = Softmax()
