"""A polynomial of the logits as weights: on logits, on all d^p features, or on the packed ones of SA."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.attention.computed import AttentionOutput, divided, normalised
from verify.attention.contract import Member
from verify.attention.emulated import check_additions, check_sums
from verify.attention.memory import MEMORY_LIMIT, check_memory
from verify.attention.operands import checked_chunk, logits_of, operands, scale_of
from verify.attention.running import in_turn, require_servable
from verify.attention.state import storage_format
from verify.families.polynomial.basis import dense_feature_count
from verify.families.polynomial.polynomial import coefficients_of, nearest, polynomial
from verify.families.polynomial.state import CHUNK, FEWER, PolynomialSums, features_text
from verify.numbers.arithmetic import Arithmetic
from verify.problem import Problem

# Pairs of a chunk's tokens, over heads, whose weights are held at once.
PAIRS = 1 << 20

# Queries whose dense features are held at once.
DENSE_TOKENS = 64


def scores(problem: Problem, arithmetic: Arithmetic, member: Member) -> AttentionOutput:
    """Return sum_t P(s_t) v_t / sum_t P(s_t), s_t = scale q.k_t, every step in the arithmetic, by Horner's rule."""
    parts = operands(problem, arithmetic)
    with np.errstate(all="ignore"):
        weights = polynomial(member).evaluate(logits_of(problem, parts), member, arithmetic)
        if parts.attended is not None:
            weights = np.where(parts.attended, weights, arithmetic.dtype.type(0))
        return normalised(parts, weights)


class OwnPairs:
    """The pairs of a causal chunk's tokens among themselves, by their logits under the mask; its buffers are kept."""

    def __init__(
        self, arithmetic: Arithmetic, member: Member, groups: tuple[int, int], chunk: int, values: int
    ) -> None:
        """Make room for some of the heads with their members, tokens of a chunk, and values with a column of ones."""
        heads, members = groups
        self.arithmetic = arithmetic
        self.member = member
        self.together = max(1, min(heads, PAIRS // max(1, members * chunk * chunk)))
        shape = (self.together, members, chunk)
        self.logits, self.weights = (np.empty((*shape, chunk), dtype=arithmetic.dtype) for _ in range(2))
        self.products = np.empty((*shape, values), dtype=arithmetic.dtype)
        self.later = ~np.tri(chunk, dtype=np.bool_)

    def add(self, totals: NDArray[Any], q: NDArray[Any], k: NDArray[Any], values: NDArray[Any]) -> None:
        """Add to totals [H, members, n, d_v + 1] what q [H, members, n, d_k] sees of k [H, n, d_k] up to its place."""
        n = k.shape[1]
        for first in range(0, len(k), self.together):
            heads = slice(first, first + self.together)
            rooms = (room[: len(k[heads]), :, :n] for room in (self.logits, self.weights, self.products))
            logits, weights, products = rooms
            logits = self.arithmetic.product(q[heads], k[heads, None].mT, out=logits[..., :n])
            weights = polynomial(self.member).evaluate(logits, self.member, self.arithmetic, out=weights[..., :n])
            weights = self.arithmetic.as_factor(weights)
            np.copyto(weights, weights.dtype.type(0), where=self.later[:n, :n])
            self.arithmetic.add_product(totals[heads], weights, values[heads, None], room=products)


def packed(
    problem: Problem,
    arithmetic: Arithmetic,
    member: Member,
    *,
    chunk: int | None = None,
    watch: bool = False,
    memory_limit: int = MEMORY_LIMIT,
    **options: Any,
) -> AttentionOutput:
    """Return a polynomial of the logits over the symmetric features of SA (8)-(11), every step in the arithmetic.

    Queries and keys go by in chunks, by default an eighth of the tokens, between 16 and CHUNK.  In a causal problem the
    chunk's own pairs are taken by their logits under the mask, and the tokens before it through the state.

    side: where the coefficients of the monomials stand, "query", "key" or, square-rooted, "both".  degrees: whether a
    read-out adds up all of them "together", or each "apart" and then the highest first.  storage: the format that sums
    are kept in from chunk to chunk.  compensated: keep beside every sum what rounding took from it.  watch: count
    features that overflow or underflow, which takes time.

    Raises InvalidRequestError for a mask or a causal alignment that a running state cannot serve; TooLargeError before
    allocating if more than memory_limit bytes would be held.
    """
    require_servable(problem, form="packed", instead="scores")
    limits: dict[str, Any] = {"watch": watch, "memory_limit": memory_limit}
    tokens = chunk_of(problem.queries, problem.keys, chunk)
    return _through_state(problem, arithmetic, member, own_pairs=True, chunk=tokens, **options, **limits)


def stream(
    problem: Problem,
    arithmetic: Arithmetic,
    member: Member,
    *,
    watch: bool = False,
    memory_limit: int = MEMORY_LIMIT,
    **options: Any,
) -> AttentionOutput:
    """Return the same with every pair through the state; token by token if causal, as when generating.

    Options and errors are those of `packed`, but for the chunk.
    """
    require_servable(problem, form="stream", instead="scores")
    limits: dict[str, Any] = {"watch": watch, "memory_limit": memory_limit}
    assert problem.prefixes is not None, "it is servable"
    tokens = 1 if problem.prefixes.shifts is not None else chunk_of(problem.queries, problem.keys, None)
    return _through_state(problem, arithmetic, member, own_pairs=False, chunk=tokens, **options, **limits)


def chunk_of(queries: int, keys: int, chunk: int | None) -> int:
    """Return how many tokens are taken at once: as given, or an eighth of the tokens, between 16 and CHUNK."""
    if chunk is not None:
        return checked_chunk(chunk, max(queries, keys))
    return min(CHUNK, max(16, max(queries, keys) // 8))


def dense(
    problem: Problem, arithmetic: Arithmetic, member: Member, *, memory_limit: int = MEMORY_LIMIT
) -> AttentionOutput:
    """Return the same over all d_k^p features of each degree, the tensors q^(x)p of SA (4), with coefficients c_p.

    As linear attentions of second order have it.  Causal and masked problems work on weights [n_q, n_k] = Phi(q)
    Phi(k)^T, a few queries at a time.  Raises TooLargeError before allocating more than memory_limit bytes, or for more
    additions than are emulated where each is rounded by itself.
    """
    coefficients = coefficients_of(member)
    order = len(coefficients) - 1
    features = dense_feature_count(problem.head_size, order)
    needed = features * (problem.keys + DENSE_TOKENS) * arithmetic.dtype.itemsize
    check_memory(features_text(features, problem.head_size, order, arithmetic), needed, memory_limit, FEWER)
    additions = features * problem.queries * problem.keys * problem.heads
    check_additions(additions, features * problem.heads * -(-problem.queries // DENSE_TOKENS), arithmetic, FEWER)
    parts = operands(problem, arithmetic)
    with np.errstate(all="ignore"):
        q = arithmetic.as_factor(parts.q * scale_of(problem.scale, problem.head_size, arithmetic))
        lead = np.broadcast_shapes(q.shape[:-2], parts.k.shape[:-2])
        weights = np.zeros((*lead, problem.queries, problem.keys), dtype=arithmetic.dtype)
        for place in np.ndindex(*lead):
            here = tuple(0 if size == 1 else i for i, size in zip(place, parts.k.shape[:-2], strict=True))
            phi = _tensors(parts.k[here], order, arithmetic)
            for first in range(0, problem.queries, DENSE_TOKENS):
                rows = slice(first, first + DENSE_TOKENS)
                left = _tensors(q[place][rows], order, arithmetic)
                for degree, (a, b) in enumerate(zip(left, phi, strict=True)):
                    scaled = arithmetic.as_factor(a * arithmetic.as_constant(np.array(nearest(coefficients[degree]))))
                    arithmetic.add_product(weights[place][rows], scaled, b.T)
        if parts.attended is not None:
            weights = np.where(parts.attended, weights, arithmetic.dtype.type(0))
        return normalised(parts, weights)


def _tensors(tokens: NDArray[Any], order: int, arithmetic: Arithmetic) -> list[NDArray[Any]]:
    """Return x^(x)p, flattened, for tokens [n, d_k] and p = 0 .. order: arrays [n, d_k^p]."""
    powers = [np.ones((len(tokens), 1), dtype=tokens.dtype)]
    for _ in range(order):
        grown = powers[-1][:, :, None] * tokens[:, None, :]
        powers.append(arithmetic.as_factor(grown.reshape(len(tokens), powers[-1].shape[1] * tokens.shape[1])))
    return powers


def _through_state(
    problem: Problem,
    arithmetic: Arithmetic,
    member: Member,
    *,
    own_pairs: bool,
    chunk: int,
    storage: str | None = None,
    **options: Any,
) -> AttentionOutput:
    """Return the attention output with every pair through the state, or in a causal problem all but a chunk's own."""
    parts = operands(problem, arithmetic)
    turn = in_turn(parts)
    k, values = turn.k, turn.values
    kernel = polynomial(member)
    state = PolynomialSums(
        arithmetic,
        len(k),
        problem.head_size,
        problem.value_size,
        kernel.order(member),
        factors=kernel.factors(member),
        chunk=chunk,
        storage=storage_format(storage),
        **options,
    )
    check_sums(state.sums.values, chunk, problem, arithmetic, FEWER)
    own = None
    if turn.own_k is not None and own_pairs:
        own = OwnPairs(arithmetic, member, turn.q.shape[:2], chunk, values.shape[-1])
    with np.errstate(all="ignore"):
        q = arithmetic.as_factor(turn.q * scale_of(problem.scale, problem.head_size, arithmetic))
        totals = np.zeros((*q.shape[:-1], values.shape[-1]), dtype=arithmetic.dtype)
        for first in range(0, k.shape[1], chunk):
            state.add(k[:, first : first + chunk], values[:, first : first + chunk])
        for first in range(0, problem.queries, chunk):
            rows = slice(first, first + chunk)
            if turn.own_k is None or turn.own_values is None:
                state.read(q[:, :, rows], totals[:, :, rows])
                continue
            tokens = turn.own_k[:, rows], turn.own_values[:, rows]
            if own is None:
                state.add(*tokens)
                state.read(q[:, :, rows], totals[:, :, rows])
                continue
            if first or k.shape[1]:
                state.read(q[:, :, rows], totals[:, :, rows])
            own.add(totals[:, :, rows], q[:, :, rows], *tokens)
            state.add(*tokens)
        return divided(parts, totals[..., :-1], totals[..., -1:], state.hazards)
