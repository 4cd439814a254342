"""Exact values do not depend on how rows and keys are divided, nor on how large numbers are elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cases import PROBLEMS
from verify.attention import tiles
from verify.errors import TooLargeError
from verify.numbers.precision import bits_for
from verify.parallel import blocks as block
from verify.problem import Problem
from verify.problem import rows as rows_of_problem
from verify.truth import reference
from verify.truth.in_blocks import memory_estimate

DIGITS = 40


@pytest.mark.parametrize("far", [1.0, 1e40, 1e300])
def test_large_values_elsewhere_cost_no_digits(far: float) -> None:
    # the third key is not attended by the first rows, and hardly by the last
    q = np.full((3, 3), 1e50)
    problem = Problem(q, [[1, 2, 3], [3, 2, 1], [0, 0, 0]], [[1.0], [1.75], [far]], causal=True)
    truth = reference(problem, DIGITS)
    assert not truth.absolute.any()
    assert truth.value.ravel().tolist() == [1.0, 1.375, 1.375]
    assert (truth.radius <= 10.0**-DIGITS * truth.value).all()


def test_blocks_of_rows_make_the_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = PROBLEMS[3]
    whole = reference(problem, DIGITS)
    monkeypatch.setattr(rows_of_problem, "BLOCK_ROWS", 2)
    np.testing.assert_array_equal(reference(problem, DIGITS).value, whole.value)


FAR = 1e200


# Problems whose logits float64 cannot estimate, and the softmax outputs they have
FAR_LOGITS = {
    "overflow": (Problem([[FAR, 0.0]], [[FAR, 1.0], [0.0, 1.0]], [[3.0], [5.0]]), 3.0),
    "cancelling": (Problem([[FAR, 1.0, -FAR]], [[1.0, 2.0, 1.0], [1.0, 2.0, 1.0]], [[3.0], [5.0]], scale=1.0), 4.0),
    "cancelling, far below": (
        Problem([[FAR, 1.0, -FAR, -1.0]], [[1.0, 2.0, 1.0, 0.0], [0.0, 0.0, 0.0, FAR]], [[3.0], [5.0]], scale=1.0),
        3.0,
    ),
    "huge scale": (Problem([[1e-5]], [[1.0], [2.0]], [[3.0], [5.0]], scale=1e300), 5.0),
    "huge scale, negative": (Problem([[1e-5]], [[1.0], [2.0]], [[3.0], [5.0]], scale=-1e300), 3.0),
    "unattended top": (
        Problem([[1.0]], [[0.0], [0.0], [FAR]], [[3.0], [5.0], [7.0]], mask=[[True, True, False]], scale=FAR),
        4.0,
    ),
}


@pytest.mark.parametrize("name", FAR_LOGITS)
def test_logits_beyond_float64_cost_no_digits(name: str) -> None:
    problem, expected = FAR_LOGITS[name]
    truth = reference(problem, DIGITS)
    assert truth.value.tolist() == [[expected]]
    assert truth.digits >= DIGITS


def test_tiles_of_keys_make_the_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(31)
    q, k, v = rng.standard_normal((5, 3)), rng.standard_normal((150, 3)), rng.standard_normal((150, 2))
    mask = rng.random((5, 150)) < 0.5
    mask[:, 64:128] = False  # a tile that nothing attends to
    problem = Problem(q, k, v, mask=mask)
    wishes = ("softmax", "logexp", "taylor:order=5")
    whole = [reference(problem, DIGITS, wish) for wish in wishes]
    (rows,) = block.blocks_of(problem)
    assert tiles.tile_keys(rows, 300) >= 150
    monkeypatch.setattr(tiles, "TILE_BYTES", 1)
    assert tiles.tile_keys(rows, 300) == 64
    for wish, truth in zip(wishes, whole, strict=True):
        np.testing.assert_array_equal(reference(problem, DIGITS, wish).value, truth.value)


@pytest.mark.parametrize("place", range(4))
def test_more_precision_for_the_rows_that_need_it(place: int) -> None:
    # one row cancels to 2**-250 of its terms, wherever it stands, and the others keep their places
    mask = np.zeros((4, 6), dtype=bool)
    mask[range(4), range(2, 6)] = True
    mask[place] = [True, True, True, False, False, False]
    values = np.array([[1.0], [-1.0], [2.0**-250], [3.0], [5.0], [7.0]])
    truth = reference(Problem(np.ones((4, 1)), np.zeros((6, 1)), values, mask=mask, scale=1.0), DIGITS)
    expected = [2.0**-250, 3.0, 5.0, 7.0]
    expected[place] = 2.0**-250 / 3
    assert truth.value.ravel().tolist() == expected
    assert not truth.absolute.any()


@pytest.mark.parametrize("seed", range(20))
def test_a_row_is_nothing_only_by_its_own_weights(seed: int) -> None:
    # logits of 1e16, whose shift float64 estimates differently for one row and for several: 2**-16 is not nothing
    q = np.full((3, 64), np.random.default_rng(seed).uniform(0.5, 1))
    k = np.full((2, 64), 2.0**63 / (64 * 67) * 0.9)
    mask = np.array([[True, True], [True, False], [True, False]])
    truth = reference(Problem(q, k, [[1.0], [2.0**-15 - 1.0]], scale=0.9, mask=mask), 10)
    assert not truth.absolute.any()
    assert truth.value.ravel().tolist() == [2.0**-16, 1.0, 1.0]


def test_memory_that_processes_take_by_key_and_by_value() -> None:
    """A key and its value are 8 (d_k + d_v) bytes, 256 rows see it or not; three processes have six blocks twice."""

    def estimate(keys: int, value_size: int, processes: int, queries: int = 1) -> int:
        q, k, v = (np.zeros(shape) for shape in ((queries, 2), (keys, 2), (keys, value_size)))
        return memory_estimate(Problem(q, k, v), 1, 30, processes)

    for processes, copies in ((0, 1), (1, 1), (3, 12)):
        by_key = (estimate(300, 3, processes) - estimate(100, 3, processes)) / 200
        assert by_key == copies * (8 * (2 + 3) + 256)
    by_value = estimate(1000, 4, 1, queries=0) - estimate(1000, 3, 1, queries=0)
    assert by_value == 8 * 1000
    # a process more: its tile, and two more blocks, each sent and received
    assert estimate(100, 3, 4) - estimate(100, 3, 3) == tiles.TILE_BYTES + 2 * 2 * 100 * (8 * 5 + 256)


def test_memory_that_outputs_take_by_digit_and_by_member() -> None:
    """Twice, an output element is its digits as text, four bytes each, and its bits as an integer of a seventh.

    Each of 100 rows has three, and a logarithm.
    """
    problem = Problem(np.zeros((100, 2)), np.zeros((1, 2)), np.zeros((1, 3)))
    few, many, twice = (memory_estimate(problem, *how, 1) for how in ((1, 30), (1, 330), (2, 30)))
    bits = bits_for(330) - bits_for(30)
    assert abs((many - few) / (2 * 400) - (2 * 4 * 300 + bits / 7)) <= 1
    assert twice - few == few - memory_estimate(problem, 0, 30, 1) > 2 * 400 * (2 * 4 * 30 + bits_for(30) / 7)


def test_just_enough_memory_is_enough() -> None:
    needed = memory_estimate(PROBLEMS[0], 1, 30, 1)
    assert reference(PROBLEMS[0], memory_limit=needed).digits >= 30
    with pytest.raises(TooLargeError):
        reference(PROBLEMS[0], memory_limit=needed - 1)


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
@pytest.mark.parametrize("name", ["softmax", "taylor:order=2", "elu"])
def test_a_small_output_is_not_taken_for_zero_whatever_the_size_of_v(name: str, size: float) -> None:
    """All weights are equal, and v is 1, -1 and 10^-60 times its size: the sum is 10^-60 of what it is made of."""
    v = [[size], [-size], [size * 1e-60]]
    truth = reference(Problem([[1.0, 2.0]], [[0.5, 0.25]] * 3, v, scale=1.0), 60, name)
    assert not truth.absolute.any()
    assert truth.value.item() == pytest.approx(v[2][0] / 3, rel=1e-15, abs=0.0)
