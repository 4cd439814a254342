"""Every form of every mechanism, as a table: adding one is one entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from verify.attention import logexp, logexp_state, softmax, taylor, taylor_state
from verify.attention.computed import AttentionOutput
from verify.cost import (
    conventional_flops_per_token,
    dense_feature_count,
    feature_count,
    flops_per_token,
    kv_cache_size,
    logexp_state_size,
    state_size,
)
from verify.errors import InvalidRequestError
from verify.numbers.arithmetic import Arithmetic
from verify.problem import Problem
from verify.truth.mechanisms import check_mechanism


@dataclass(frozen=True)
class Cost:
    """What a form holds and executes for one head, by the published formulas; None where nothing is published.

    features: per key.  state_elements: numbers kept from token to token.  flops_per_token: at the problem's n_k.
    """

    features: int | None
    state_elements: int
    flops_per_token: int | None


@dataclass(frozen=True)
class Form:
    """One way to compute one mechanism; `compute` and `cost` take an order exactly where the mechanism does.

    options: what else `compute` can be told, by keyword.
    """

    mechanism: str
    name: str
    description: str
    compute: Callable[..., AttentionOutput]
    cost: Callable[..., Cost]
    options: tuple[str, ...] = ()

    def run(
        self, problem: Problem, arithmetic: Arithmetic, order: int | None = None, **options: Any
    ) -> AttentionOutput:
        """Compute the problem in the arithmetic.

        Raises InvalidRequestError for an order where none belongs, or none, and for options that the form lacks.
        """
        check_mechanism(self.mechanism, order)
        for name in options:
            if name not in self.options:
                expected = f"one of {', '.join(self.options)}" if self.options else "none"
                raise InvalidRequestError(
                    f"option {name!r} of the form {self.name}", expected, "choose a form that has it, or leave it out"
                )
        orders = () if order is None else (int(order),)
        return self.compute(problem, arithmetic, *orders, **options)

    def costs(self, problem: Problem, order: int | None = None) -> Cost:
        """Return what the form costs on the problem; InvalidRequestError for an order where none belongs, or none."""
        check_mechanism(self.mechanism, order)
        return self.cost(problem) if order is None else self.cost(problem, order)


def _conventional_cost(problem: Problem) -> Cost:
    d, d_v = problem.head_size, problem.value_size
    return Cost(None, kv_cache_size(problem.keys, d, d_v), conventional_flops_per_token(problem.keys, d, d_v))


def _cache_cost(problem: Problem, order: int | None = None) -> Cost:
    return Cost(None, kv_cache_size(problem.keys, problem.head_size, problem.value_size), None)


def _logexp_cost(problem: Problem) -> Cost:
    return Cost(problem.head_size, logexp_state_size(problem.head_size, problem.value_size), None)


def _packed_cost(problem: Problem, order: int) -> Cost:
    d, d_v = problem.head_size, problem.value_size
    return Cost(feature_count(d, order), state_size(d, order, d_v), flops_per_token(d, order, d_v))


def _dense_cost(problem: Problem, order: int) -> Cost:
    d, d_v = problem.head_size, problem.value_size
    features = dense_feature_count(d, order)
    return Cost(features, (d_v + 1) * features, None)


FORMS = {
    (form.mechanism, form.name): form
    for form in (
        Form(
            "softmax",
            "softmax",
            "conventional attention, shifted by the row maximum, two passes",
            softmax.softmax,
            _conventional_cost,
        ),
        Form(
            "softmax",
            "online",
            f"the same in one pass over the keys, {softmax.ONLINE_KEYS} at a time, with a running maximum",
            softmax.online,
            _conventional_cost,
            options=("keys",),
        ),
        Form(
            "logexp",
            "quadratic",
            "softmax over log sum_i exp(q_i + k_i), every pair of tokens",
            logexp.quadratic,
            _cache_cost,
        ),
        Form(
            "logexp",
            "linear",
            "a state of d (d_v + 1) signed logarithms, one token after another",
            logexp.linear,
            _logexp_cost,
        ),
        Form(
            "logexp",
            "stream",
            f"a state of d (d_v + 1) numbers, {logexp_state.CHUNK} at a time; pair by pair where that underflows",
            logexp.stream,
            _logexp_cost,
            options=("chunk",),
        ),
        Form(
            "taylor",
            "scores",
            "polynomial of the logits by Horner's rule, every pair of tokens",
            taylor.scores,
            _cache_cost,
        ),
        Form(
            "taylor",
            "packed",
            "symmetric features and a state, in chunks of an eighth of the tokens, 16 to"
            f" {taylor_state.CHUNK}; a causal chunk's own pairs by scores",
            taylor.packed,
            _packed_cost,
            options=("chunk", "side", "degrees", "watch", "memory_limit"),
        ),
        Form(
            "taylor",
            "stream",
            "symmetric features and a state, token by token if causal",
            taylor.stream,
            _packed_cost,
            options=("side", "degrees", "watch", "memory_limit"),
        ),
        Form(
            "taylor",
            "dense",
            "all d^p features of every degree, and weights from them",
            taylor.dense,
            _dense_cost,
            options=("memory_limit",),
        ),
    )
}


def named_form(mechanism: str, name: str) -> Form:
    """Return one form; InvalidRequestError lists the forms there are."""
    try:
        return FORMS[mechanism, name]
    except (KeyError, TypeError):
        known = [form for owner, form in FORMS if owner == mechanism]
        expected = f"one of {', '.join(known)}" if known else "a known mechanism"
        raise InvalidRequestError(
            f"form {name!r} of mechanism {mechanism!r}", expected, "choose one of these"
        ) from None
