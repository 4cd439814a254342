"""Requests that took too long, or too much memory: they end soon, or are refused before they start."""

from __future__ import annotations

import inspect
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from cli.recommend import recommend as recommend_command
from verify.attention import emulated
from verify.errors import InvalidRequestError, TooLargeError
from verify.measure import decomposition
from verify.measure.decomposition import Decomposer
from verify.measure.exact import Exact
from verify.measure.logits import logit_statistics
from verify.mechanisms import named_member, named_variant
from verify.numbers.arithmetic import named_arithmetic
from verify.problem import Problem
from verify.problem import rows as rows_of_problem
from verify.recommend import recommend
from verify.truth import reference, references


@pytest.mark.parametrize("form", ["packed", "stream"])
@pytest.mark.parametrize("arithmetic", ["float16", "bfloat16"])
@pytest.mark.parametrize(("tokens", "causal"), [(32, False), (64, True), (128, False)])
def test_forms_with_a_state_in_16_bits_are_refused_before_they_take_long(
    form: str, arithmetic: str, tokens: int, causal: bool
) -> None:
    ones = np.ones((tokens, 64))
    problem = Problem(ones, ones, ones, causal=causal)
    with pytest.raises(
        TooLargeError, match=r"additions to round one by one in .*: about \d+ seconds; .*adds in float32"
    ):
        named_variant(f"taylor:order=3/{form}").run(problem, named_arithmetic(arithmetic))


@pytest.mark.parametrize("name", ["elu/stream", "logexp/stream", "taylor:order=1/packed"])
def test_states_of_other_mechanisms_count_their_additions_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # three features (of order 1 with a constant: four), of two numbers with the weight: 5 keys and 10 queries in chunks
    problem = Problem(np.ones((2, 5, 3)), np.ones((1, 5, 3)), np.ones((1, 5, 1)))
    features = 4 if name.startswith("taylor") else 3
    work = features * 2 * (5 + 10) + emulated.PER_STEP * features * 2
    float16 = named_arithmetic("float16")
    monkeypatch.setattr(emulated, "EMULATED_ADDITIONS", work)
    named_variant(name).run(problem, float16)
    monkeypatch.setattr(emulated, "EMULATED_ADDITIONS", work - 1)
    named_variant(name).run(problem, named_arithmetic("float16+float32"))
    with pytest.raises(
        TooLargeError, match=f"{features * 30} additions to round one by one in float16, in {2 * features}"
    ):
        named_variant(name).run(problem, float16)


def test_recommend_estimates_before_it_starts() -> None:
    problem = Problem(*np.random.default_rng(1).standard_normal((3, 3000, 4)), name="long")
    expected = (
        "exact values of long, the first 8 members of taylor, that would take about 93.6 seconds; expected at most 10"
    )
    with pytest.raises(TooLargeError, match=expected):
        recommend(problem, 1e-3, largest=7)
    short = Problem(*np.random.default_rng(1).standard_normal((3, 20, 4)))
    estimate = 20 * 20 * 8 * 1.3e-6
    assert recommend(short, 1e-3, largest=7, seconds=1.01 * estimate).largest == 7
    with pytest.raises(TooLargeError, match="allow more seconds"):
        recommend(short, 1e-3, largest=7, seconds=0.99 * estimate)
    with pytest.raises(InvalidRequestError, match="seconds 0; expected a number above 0"):
        recommend(short, 1e-3, seconds=0)
    assert "seconds" in inspect.signature(recommend_command).parameters


@pytest.mark.parametrize("causal", [False, True])
def test_bounds_and_statistics_take_no_memory_for_every_pair(causal: bool) -> None:
    n = 1280
    q, k, v = np.random.default_rng(2).standard_normal((3, n, 4))
    problem = Problem(q, k, v, causal=causal)
    exact, float32 = np.zeros(problem.output_shape), named_arithmetic("float32")
    steps: list[Callable[[], Any]] = [lambda: logit_statistics(problem)]
    for name in ("taylor:order=3", "power"):
        member = named_member(name)
        steps.append(partial(member.mechanism.formula_bound, problem, member))
    for name in ("softmax/softmax", "logexp/stream", "taylor:order=3/packed", "elu/stream"):
        steps.append(partial(named_variant(name).rounding_bound, problem, exact, float32))
    for step in steps:
        tracemalloc.start()
        step()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 8 * 16 * 2**20 + 40 * 8 * n  # sixteen numbers for each of 2^20 pairs, not for all of them


def test_statistics_of_logits_in_parts_are_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = np.random.default_rng(2).standard_normal((3, 50, 4))
    problem = Problem(q, k, v, causal=True)
    whole = logit_statistics(problem)
    logits = (problem.q @ problem.k.T / 2)[np.tri(50, dtype=bool)]
    monkeypatch.setattr(rows_of_problem, "PAIRS", 120)
    assert logit_statistics(problem) == pytest.approx(whole, rel=1e-13)
    assert whole == pytest.approx((np.abs(logits).max(), logits.std()), rel=1e-13)


@pytest.mark.parametrize("size", [1.0, 0.01, 0.0])
def test_tiny_truncation_is_found_for_all_orders_together(size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def recorded(problem: Problem, members: Any, digits: int, **limits: Any) -> Any:
        if problem.queries > decomposition.FEW * 64:  # a few rows may be taken again by themselves
            asked.append((len(members), digits))
        return references(problem, members, digits, **limits)

    monkeypatch.setattr(decomposition, "references", recorded)
    q, k, v = np.random.default_rng(5).standard_normal((3, 64, 4))
    members = [named_member(f"taylor:order={order}") for order in range(32)]
    exact = Exact(Problem(size * q, k, v), members)
    for member in members:
        Decomposer(exact.truths, exact.truths).gaps(member)
    assert sorted(asked) == sorted(
        (count, digits) for count in (1, 32) for digits in ([33] if size == 1 else [33, 66, 132])
    )


@pytest.mark.parametrize("order", [513, 100_000, 10**9])
def test_orders_are_capped(order: int) -> None:
    problem = Problem([[1.0]], [[1.0], [2.0]], [[1.0], [2.0]])
    for ask in (
        lambda: reference(problem, 30, f"taylor:order={order}"),
        lambda: named_variant(f"taylor:order={order}/packed"),
    ):
        with pytest.raises(InvalidRequestError, match=f"order {order}; expected an integer from 0 to 512"):
            ask()
    assert reference(problem, 30, "taylor:order=512").value[0, 0] == pytest.approx(
        reference(problem).value[0, 0], rel=1e-15
    )
