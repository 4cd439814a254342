"""Numbers that count, and what the mechanisms make of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from verify.attention import AttentionOutput, Member
from verify.families.polynomial.basis import multiplicities
from verify.families.polynomial.forms import packed, scores
from verify.mechanisms.softmax.costs import as_softmax
from verify.mechanisms.softmax.counting import softmax_operations
from verify.mechanisms.softmax.forms import softmax
from verify.mechanisms.softmax.mechanism import SOFTMAX
from verify.mechanisms.taylor import counting
from verify.mechanisms.taylor.account import NAMES, as_own_pairs, as_packed, as_published, charged
from verify.mechanisms.taylor.costs import flops_per_token
from verify.mechanisms.taylor.counting import account, own_pair_operations, packed_parts, published_parts
from verify.mechanisms.taylor.mechanism import TAYLOR
from verify.numbers.arithmetic import named_arithmetic
from verify.numbers.counted import Counted, CountingArithmetic, Operations, Tally
from verify.problem import Problem

CASES = [(8, 3, 8), (1, 5, 2), (4, 0, 3), (3, 4, 5), (20, 3, 2)]  # the last one with slices that are not multiplied out


def test_every_operation_is_counted_once() -> None:
    tally = Tally()
    x, y = Counted(6.0, tally), Counted(3.0, tally)
    assert [float(z) for z in (x + y, 1 + x, x - y, 1 - x)] == [9.0, 7.0, 3.0, -5.0]
    assert tally.taken() == Operations(additions=4)
    assert [float(z) for z in (x * y, 2.0 * x, x / y, 12 / x)] == [18.0, 12.0, 2.0, 2.0]
    assert float(np.exp(np.array([Counted(0.0, tally)], dtype=object))[0]) == 1.0
    assert (x > y, x >= y, x < y, x <= y, x == y, x != y) == (True, True, False, False, False, True)
    assert tally.taken() == Operations(multiplications=2, divisions=2, exponentials=1, comparisons=4)
    assert tally.taken() == Operations()


def test_matrix_products_are_counted_as_they_run() -> None:
    arithmetic = CountingArithmetic()
    left, right = arithmetic.as_input(np.ones((3, 4))), arithmetic.as_input(np.ones((4, 5)))
    assert ((left @ right).astype(float) == 4).all()
    assert arithmetic.tally.taken() == Operations(multiplications=60, additions=45)


def test_operations_that_tokens_do_not_share() -> None:
    with pytest.raises(ArithmeticError, match="each of 2 tokens"):
        Operations(additions=3).shared_by(2)


@pytest.mark.parametrize("causal", [False, True])
def test_counting_changes_no_value(causal: bool) -> None:
    rng = np.random.default_rng(41)
    q, k, v = (rng.standard_normal((5, size)) for size in (3, 3, 2))
    problem = Problem(q, k, v, causal=causal)
    third = TAYLOR.member(order=3)
    runs: list[Any] = [(softmax, SOFTMAX.member()), (scores, third), (packed, third)]
    for form, member in runs:
        counted = form(problem, CountingArithmetic(), member).value.astype(np.float64)
        plain = form(problem, named_arithmetic("float64"), member).value
        # sums of a few terms of size 1 in another order
        np.testing.assert_allclose(counted, plain, rtol=0, atol=1e-13)


@pytest.mark.parametrize("case", CASES)
def test_the_account_of_the_parts(case: tuple[int, int, int]) -> None:
    assert packed_parts(*case) == as_packed(*case)
    assert published_parts(*case) == as_published(*case)
    assert sum(charged(*case).in_order()) == flops_per_token(*case)


def test_the_account_that_is_printed() -> None:
    found = account(8, 3, 8)
    assert [row.part for row in found.rows] == [*NAMES.in_order(), "all"]
    assert [(row.charged, row.published.flops, row.packed.flops) for row in found.rows] == [
        (552, 552, 344),
        (3_134, 2_970, 2_970),
        (3_134, 3_143, 2_986),
        (6_820, 6_665, 6_300),
    ]
    # 165 features and 9 = d_v + 1: an addition and a multiplication to update and to read; the features but the first
    # twice; x / 2 and x / 3; the scale of q, the division
    assert 6_300 == 165 * 4 * 9 + 2 * 164 + 2 * 8 + 8 + 8
    # 16 pairs: 15 for a logit, 9 for Horner's rule, 18 for the output and Z
    assert (found.chunk, found.own_pairs.flops) == (16, 16 * (15 + 9 + 18))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("chunk", [1, 4])
def test_own_pairs_of_a_causal_chunk(case: tuple[int, int, int], chunk: int) -> None:
    assert own_pair_operations(*case, chunk) == as_own_pairs(*case, chunk)


def test_softmax_is_counted() -> None:
    assert softmax_operations(64, 8, 8) == as_softmax(64, 8, 8)
    assert softmax_operations(64, 8, 8).flops == 64 * (2 * 8 + 2 * 8 + 3) - 1


def test_a_form_that_does_more_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wasteful(problem: Problem, arithmetic: Any, member: Member) -> Any:
        output = packed(problem, arithmetic, member)
        return AttentionOutput(output.value * 1.0, output.normaliser, output.hazards)

    monkeypatch.setattr(counting, "packed", wasteful)
    assert packed_parts(8, 3, 8) != as_packed(8, 3, 8)


def test_another_function_is_not_counted_for_the_published_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "multiplicities", lambda size, degree: [1] * len(multiplicities(size, degree)))
    with pytest.raises(ArithmeticError, match="the method as published gave"):
        published_parts(8, 3, 8)


def test_an_answer_of_nan_is_not_counted_for_the_published_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "multiplicities", lambda *a: [float("nan")] * len(multiplicities(*a)))
    with pytest.raises(ArithmeticError, match="the method as published gave"):
        published_parts(8, 3, 8)
