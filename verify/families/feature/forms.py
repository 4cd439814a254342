"""Attention with weights phi(q).phi(k), pair by pair or through a state, and what it costs."""

from __future__ import annotations

import numpy as np

from verify.attention.computed import AttentionOutput, divided, normalised
from verify.attention.contract import Member
from verify.attention.cost import Cost
from verify.attention.emulated import check_sums
from verify.attention.memory import MEMORY_LIMIT
from verify.attention.operands import checked_chunk, operands
from verify.attention.running import in_turn, require_servable
from verify.attention.state import storage_format
from verify.families.feature.features import computed_features, feature_map
from verify.families.feature.state import CHUNK, FeatureSums
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.counted import CountingArithmetic, Operations
from verify.problem import Problem


def pairs(problem: Problem, arithmetic: Arithmetic, member: Member) -> AttentionOutput:
    """Return attention with weights phi(q).phi(k_t), every pair of tokens."""
    parts = operands(problem, arithmetic)
    with np.errstate(all="ignore"):
        of_q, of_k = (computed_features(x, problem.scale, member, arithmetic) for x in (parts.q, parts.k))
        weights = arithmetic.as_sum(arithmetic.product(of_q, of_k.mT))
        if parts.attended is not None:
            weights = np.where(parts.attended, weights, arithmetic.dtype.type(0))
        return normalised(parts, weights)


def stream(
    problem: Problem,
    arithmetic: Arithmetic,
    member: Member,
    *,
    chunk: int | None = None,
    storage: str | None = None,
    compensated: bool = False,
    memory_limit: int = MEMORY_LIMIT,
) -> AttentionOutput:
    """Return the same through a state of m (d_v + 1) numbers, a chunk of tokens at a time.

    In a causal problem a chunk's own pairs are taken by their weights under the mask, and the tokens before it through
    the state.  Raises InvalidRequestError for a mask or a causal alignment that a running state cannot serve,
    TooLargeError before allocating more than memory_limit bytes.
    """
    require_servable(problem, form="stream", instead="pairs")
    count = checked_chunk(CHUNK if chunk is None else chunk, max(problem.queries, problem.keys))
    parts = operands(problem, arithmetic)
    turn = in_turn(parts)
    q, k, values = turn.q, turn.k, turn.values
    state = FeatureSums(
        arithmetic,
        len(k),
        problem.head_size,
        problem.value_size,
        member,
        problem.scale,
        storage=storage_format(storage),
        compensated=compensated,
        memory_limit=memory_limit,
    )
    check_sums(state.sums.values, count, problem, arithmetic, "take fewer features or the form pairs")
    totals = np.zeros((*q.shape[:-1], values.shape[-1]), dtype=arithmetic.dtype)
    later = ~np.tri(count, dtype=np.bool_)
    with np.errstate(all="ignore"):
        for first in range(0, k.shape[1], count):
            state.add(k[:, first : first + count], values[:, first : first + count])
        for first in range(0, problem.queries, count):
            rows = slice(first, first + count)
            of_q = state.features(q[:, :, rows])
            if first or k.shape[1]:
                state.read_features(of_q, totals[:, :, rows])
            if turn.own_k is not None and turn.own_values is not None:
                of_k, own = state.features(turn.own_k[:, rows]), turn.own_values[:, rows]
                weights = arithmetic.as_factor(arithmetic.product(of_q, of_k[:, None].mT))
                size = weights.shape[-1]
                np.copyto(weights, arithmetic.dtype.type(0), where=later[:size, :size])
                arithmetic.add_product(totals[:, :, rows], weights, own[:, None])
                state.add_features(of_k, own)
        return divided(parts, totals[..., :-1], totals[..., -1:], state.hazards)


def state_cost(problem: Problem, member: Member) -> Cost:
    """Return the cost of the form with a state: m features, m (d_v + 1) numbers, and the operations of one token."""
    features = feature_map(member).feature_count(problem.head_size, member)
    return Cost(features, features * (problem.value_size + 1), token_operations(problem, member).flops)


def token_operations(problem: Problem, member: Member) -> Operations:
    """Return what one token takes through the state: phi of q and of k, an update, a read-out and a division.

    What phi takes is counted while it runs once; the rest follows from the shapes.
    """
    arithmetic = CountingArithmetic()
    token = arithmetic.as_input(np.full((1, problem.head_size), 0.5))
    computed_features(token, problem.scale, member, arithmetic)
    features = feature_map(member).feature_count(problem.head_size, member)
    state = features * (problem.value_size + 1)
    through = Operations(multiplications=2 * state, additions=2 * state, divisions=problem.value_size)
    return arithmetic.tally.taken() * 2 + through
