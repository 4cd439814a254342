"""Problems over the whole range of float64: a ball that holds the exact value, or an error of ours, nothing else."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from verify.attention import Variant
from verify.bounds import RatioTable
from verify.errors import InvalidRequestError
from verify.measure.cell import Cell, measured
from verify.measure.decomposition import Decomposer
from verify.measure.exact import Exact
from verify.measure.logits import logit_statistics
from verify.measure.weights import compare_weights
from verify.mechanisms import named_member, named_variant
from verify.numbers.arithmetic import ARITHMETICS
from verify.numbers.formats import FORMATS, Format
from verify.numbers.rounding import UndecidedRoundingError, correctly_rounded
from verify.problem import Problem
from verify.truth import Reference, reference
from verify.truth.certificate import certified

MEMBERS = ["softmax", "logexp", "elu", "power", "mean", "favor:features=3", *(f"taylor:order={n}" for n in range(6))]
SEEDS = 25  # for each member; the range was searched with 6,000 beside them
SIZES = [0.0, 5e-324, 2.2e-308, 1e-308, 1e-300, 1e-160, 1e-45, 1e-30, 1.0, 1e10, 1e30, 1e80, 1e150, 1e300, 1.7e308]

Rng = np.random.Generator


def numbers(rng: Rng, shape: tuple[int, int]) -> Any:
    """Return numbers of one size, of any size, of the sizes where something ends, or whole multiples of one."""
    signs = rng.choice([-1.0, 1.0], shape)
    kinds: list[Callable[[], Any]] = [
        lambda: rng.standard_normal(shape),
        lambda: signs * 10.0 ** rng.uniform(-308, 308, shape),
        lambda: signs * rng.choice(SIZES, shape),
        lambda: rng.standard_normal(shape) * 10.0 ** rng.uniform(-307, 307),
        lambda: rng.integers(-2, 3, shape) * 10.0 ** rng.uniform(-300, 300),
    ]
    return np.clip(kinds[rng.integers(len(kinds))](), -1.7e308, 1.7e308)


def problem_of(rng: Rng) -> Problem:
    queries, keys, head_size, value_size = (int(rng.integers(1, high)) for high in (3, 5, 4, 3))
    scales = [None, 1.0, 0.0, float(rng.choice([-1, 1]) * 10.0 ** rng.uniform(-308, 300)), 1e300, 5e-324]
    q, k, v = (numbers(rng, s) for s in ((queries, head_size), (keys, head_size), (keys, value_size)))
    mask = rng.random((queries, keys)) < 0.8 if rng.random() < 0.2 else None
    scale, causal = scales[rng.integers(len(scales))], bool(rng.random() < 0.2)
    return Problem(q, k, v, scale, causal, mask, "top-left")


def assert_rounded(rounded: Any, finer: Reference, format_: Format) -> None:
    """Compare with balls of other digits where these decide."""
    for place, value in np.ndenumerate(rounded):
        try:
            expected = correctly_rounded(finer.balls.ball(place), format_)
        except UndecidedRoundingError:
            continue
        if not finer.absolute[place]:
            np.testing.assert_array_equal(value, expected)  # 0 may have lost its sign


def searched(member_name: str, seed: int) -> None:
    """Ask everything of a problem; AssertionError for a wrong answer, and any error but ours comes through."""
    rng, member = np.random.default_rng(seed), named_member(member_name)
    problem = problem_of(rng)
    if member.mechanism.unservable(problem) is not None:
        with pytest.raises(InvalidRequestError):
            reference(problem, 30, member)
        return
    digits = int(rng.choice([1, 15, 30, 60]))
    truth = reference(problem, digits, member)
    assert truth.digits >= digits
    assert certified(truth).elements == truth.value.size
    finer = reference(problem, 2 * digits + 1, member)
    for format_ in FORMATS.values():
        try:
            rounded = truth.rounded(format_)
        except UndecidedRoundingError:
            rounded = truth.rounded(format_, undecided="nan")
        assert_rounded(rounded.astype(np.float64), finer, format_)
    member.mechanism.formula_bound(problem, member)
    compare_weights(problem, member)
    logit_statistics(problem)
    name = "float64" if rng.random() < 0.75 else str(rng.choice(list(ARITHMETICS)))
    form = member.mechanism.forms[rng.integers(len(member.mechanism.forms))].name
    with contextlib.suppress(InvalidRequestError):  # but not ViolatedBoundError, if a bound is exceeded that is sure
        measured(problem, Cell(Variant(member, form), name))


@pytest.mark.parametrize("member", MEMBERS)
def test_problems_of_any_size(member: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(SEEDS):
            searched(member, seed)


def test_nothing_that_is_attended_cannot_be_measured() -> None:
    problem = Problem([[1.0]], [[1.0]], [[1.0]], mask=[[False]], name="blind")
    with pytest.raises(InvalidRequestError, match="blind in which no query attends to any key; expected at least one"):
        measured(problem, Cell(named_variant("softmax/softmax"), "float64"))


@pytest.mark.parametrize("size", [1e154, 1.3e154])
def test_logits_from_end_to_end_of_float64_have_a_bound(size: float) -> None:
    # from -size^2 to size^2: the range is beyond float64
    member = named_member("power:degree=2")
    problem = Problem([[size]], [[size], [-size]], [[1.0], [3.0]], scale=1.0)
    bound = member.mechanism.formula_bound(problem, member)
    assert bound is not None
    assert bound.tolist() == [[np.inf]]
    table = RatioTable(lambda s: s.exp() * 2, -1.7e308, 1.7e308)
    assert (table.edges[0], table.edges[-1]) == (-1.7e308, 1.7e308)
    assert (np.diff(table.edges / 2) > 0).all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_differences_beyond_float64_are_infinite(sign: float) -> None:
    # weights 1 + s at s = 1 and -1 - 2^-50: their sum is -2^-50, and the output beyond float64
    problem = Problem([[1.0]], [[1.0], [-3.0 - 2.0**-40]], [[sign * 1.7e308], [0.0]], scale=1.0)
    truths = Exact(problem, [named_member("taylor:order=1"), named_member("softmax")]).truths
    error, _ = Decomposer(truths, truths).gaps(named_member("taylor:order=1"))["formula"]
    assert error.tolist() == [[-sign * np.inf]]
    assert certified(reference(problem, 30, "taylor:order=1")).rational == 1
