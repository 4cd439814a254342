"""Mechanisms whose weights are inner products of features: w_t = phi(q).phi(k_t), with a state of fixed size."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np
from flint import arb_mat

from verify.arguments import Choice, Flag, Whole
from verify.attention.contract import Attended, Form, Mechanism, Member, Terms, TileWeights
from verify.attention.running import unservable
from verify.attention.tiles import as_ball, ball_matrix, only_attended, scale_of_block
from verify.families.costs import FeatureCost, cache_cost, feature_cost
from verify.families.feature import bounds, forms
from verify.families.feature.features import features_of
from verify.families.feature.state import CHUNK, FeatureState
from verify.numbers.arrays import BoolArray, Float64Array
from verify.numbers.fields import BallField, Field, FloatField, Number
from verify.numbers.formats import FORMATS
from verify.parallel.blocks import Block
from verify.problem import Head, Problem

FORMS = (
    Form(
        "pairs",
        "weights from features, every pair of tokens",
        forms.pairs,
        cache_cost,
        rounding=bounds.pairs,
        adjusts=True,
        by_row=True,
    ),
    Form(
        "stream",
        f"a state of features times values, {CHUNK} tokens at a time; a causal chunk's own pairs by their weights",
        forms.stream,
        forms.state_cost,
        rounding=bounds.stream,
        operations=forms.token_operations,
        state=FeatureState,
        serves=partial(unservable, form="stream", instead="pairs"),
        options={
            "chunk": Whole(None, least=1),
            "storage": Choice(None, tuple(FORMATS)),
            "compensated": Flag(),
        },
        limits=("memory_limit",),
    ),
)


class FeatureKernel(Mechanism):
    """Weights phi(q).phi(k), declared once by phi.

    A subclass has name, description, source and

        def features(self, f, x, scale, member):
            return [f.positive(c) + f.exp(-f.positive(-c)) for c in x]

    which is called with the components of one query or key, or of many at once, component by component.  Exact values,
    a form that goes pair by pair, one with a state, costs, counts and bounds on rounding follow from it.
    """

    forms: tuple[Form, ...] = FORMS

    @abstractmethod
    def features(self, f: Field, x: Sequence[Number], scale: Number, member: Member) -> list[Number]:
        """Return phi(x), in any field, for a query or a key; scale: of the logits, which phi may use or not."""

    def feature_count(self, head_size: int, member: Member) -> int:
        """Return how many features there are; by default as many as there are components."""
        return head_size

    def counts(self, head_size: int, value_size: int | None, member: Member) -> FeatureCost:
        """Return what the features cost, operations of one token counted and derived."""
        d_v = head_size if value_size is None else value_size
        token = Problem(np.zeros((1, head_size)), np.zeros((1, head_size)), np.zeros((1, d_v)))
        flops = forms.token_operations(token, member).flops
        return feature_cost(member, head_size, d_v, self.feature_count(head_size, member), flops)

    def weights(
        self, f: Field, q: Sequence[Number], keys: Sequence[Sequence[Number]], scale: Number, member: Member
    ) -> list[Number]:
        """Return the weights of the keys of one query."""
        of_q = features_of(f, q, scale, member)
        return [f.dot(of_q, features_of(f, k, scale, member)) for k in keys]

    def balls(self, block: Block, members: Sequence[Member], *, magnitudes: bool) -> Iterable[TileWeights]:
        """Return the weights of a block in balls: features token by token, then a matrix product."""
        return [_FeatureProducts(block, member, magnitudes) for member in members]

    def float_weights(
        self, head: Head, rows: slice, attended: BoolArray, member: Member
    ) -> tuple[Float64Array, Float64Array]:
        """Return weights in float64, and the sums of the magnitudes of their terms."""
        of_q, of_k = (self._float_features(x, head, member) for x in (head.q[rows], head.k))
        return np.asarray(of_q @ of_k.T), np.asarray(np.abs(of_q) @ np.abs(of_k).T)

    def _float_features(self, tokens: Float64Array, head: Head, member: Member) -> Float64Array:
        field = FloatField()
        scale = field.scale(head.scale, head.q.shape[1])
        found = features_of(field, list(tokens.T), scale, member)
        return np.stack([np.broadcast_to(x, len(tokens)) for x in found], axis=-1)


class _FeatureProducts(TileWeights):
    """phi(q).phi(k_t) by a matrix product; of absolute values where magnitudes are asked for."""

    def __init__(self, block: Block, member: Member, magnitudes: bool) -> None:
        self.member, self.magnitudes, self.k = member, magnitudes, block.k
        self.scale = scale_of_block(block)
        self.queries = self._features(block.q)

    def _features(self, tokens: Float64Array) -> arb_mat:
        field = BallField()
        rows = [
            features_of(field, [field.exact(x) for x in token], self.scale, self.member) for token in tokens.tolist()
        ]
        entries = [as_ball(x) for row in rows for x in row]
        if self.magnitudes:
            entries = [abs(x) for x in entries]
        return ball_matrix(entries, (len(rows), len(rows[0])))

    def terms(self, keys: slice, attended: Attended) -> Terms:
        """Yield what the keys of a tile add."""
        right = self._features(self.k[keys]).transpose()
        yield self.member, 1, only_attended(attended, (self.queries * right).entries())
