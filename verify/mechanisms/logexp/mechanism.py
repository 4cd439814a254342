"""Log-exp attention (LE): softmax over the logarithm of a product of exponentials."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from verify.arguments import Choice, Flag, Whole
from verify.attention.contract import Form, Mechanism, Member, Pullback, TileWeights
from verify.attention.running import unservable
from verify.families.costs import FeatureCost, cache_cost, feature_cost
from verify.mechanisms.logexp import bounds, forms
from verify.mechanisms.logexp.costs import logexp_cost
from verify.mechanisms.logexp.exact import LogExpPullback, LogExpWeights
from verify.mechanisms.logexp.state import CHUNK, LogExpState
from verify.mechanisms.softmax.forms import shares
from verify.numbers.arrays import BoolArray, Float64Array
from verify.numbers.fields import Field, Number
from verify.numbers.formats import FORMATS
from verify.parallel.blocks import Block
from verify.problem import Head


class LogExp(Mechanism):
    """w_t = sum_i exp(q_i) exp(k_ti); the scale does not apply."""

    name = "logexp"
    description = "log-exp attention: inner products of exponentials"
    source = "LE (1), (2), (5), (6)"
    formula_error = "deviation"
    forms = (
        Form(
            "quadratic",
            "softmax over log sum_i exp(q_i + k_i), every pair of tokens",
            forms.quadratic,
            cache_cost,
            rounding=bounds.quadratic,
            adjusts=True,
            by_row=True,
        ),
        Form(
            "linear",
            "a state of d (d_v + 1) signed logarithms, one token after another",
            forms.linear,
            logexp_cost,
            rounding=bounds.linear,
            serves=partial(unservable, form="linear", instead="quadratic"),
            own_factor=True,
        ),
        Form(
            "stream",
            f"a state of d (d_v + 1) numbers, {CHUNK} at a time; pair by pair where that underflows",
            forms.stream,
            logexp_cost,
            rounding=bounds.stream,
            state=lambda member, *sizes, **settings: LogExpState(*sizes, **settings),
            serves=partial(unservable, form="stream", instead="quadratic"),
            options={
                "chunk": Whole(CHUNK, least=1),
                "storage": Choice(None, tuple(FORMATS)),
                "compensated": Flag(),
            },
        ),
    )

    def counts(self, head_size: int, value_size: int | None, member: Member) -> FeatureCost:
        """Return what the exponentials of q and k cost as features; nobody has published the operations."""
        return feature_cost(member, head_size, value_size, head_size, None)

    def weights(
        self, f: Field, q: Sequence[Number], keys: Sequence[Sequence[Number]], scale: Number, member: Member
    ) -> list[Number]:
        """Return sum_i exp(q_i + k_ti - a) for every key, a near the largest exponent: it cancels in the quotient."""
        exponents = [[a + b for a, b in zip(q, k, strict=True)] for k in keys]
        top = f.largest([x for row in exponents for x in row])
        return [f.sum([f.exp(x - top) for x in row]) for row in exponents]

    def balls(self, block: Block, members: Sequence[Member], *, magnitudes: bool) -> Iterable[TileWeights]:
        """Return the weights of a block in balls; they are their own magnitudes."""
        return [LogExpWeights(block, member) for member in members]

    def pullback(self, block: Block, member: Member) -> Pullback:
        """Return the weights of a block with their derivatives."""
        return LogExpPullback(block, member)

    def float_weights(
        self, head: Head, rows: slice, attended: BoolArray, member: Member
    ) -> tuple[Float64Array, Float64Array]:
        """Return weights over their sum, from their logarithms."""
        logits, _ = bounds.log_sums(head.q[rows], head.k)
        found = shares(logits, attended)
        return found, found


LOGEXP = LogExp()
