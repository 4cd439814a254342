"""Bounds hold, and forms agree with exact values, where logits are capped, biased or sunk, and weights dropped."""

from __future__ import annotations

import numpy as np
import pytest

from tests.people import drawn
from verify.attention import Variant
from verify.errors import InvalidRequestError
from verify.measure.decomposition import Truths, exact_gap
from verify.measure.metrics import computed_error
from verify.mechanisms import named_member
from verify.mechanisms.registry import baseline
from verify.numbers.arithmetic import ARITHMETICS, Arithmetic
from verify.problem import Problem
from verify.truth import reference

MEMBERS = ("softmax", "taylor:order=2", "taylor:order=3", "power:degree=2")
COUNT = 70


@pytest.mark.parametrize("part", range(4))
def test_rounding_stays_below_its_bound(part: int) -> None:
    finite = forms = 0
    for seed in range(3000 + part * COUNT, 3000 + (part + 1) * COUNT):
        arithmetic = list(ARITHMETICS.values())[seed % len(ARITHMETICS)]
        problem = Problem(**drawn(seed), name=f"problem {seed}").rounded(arithmetic.inputs)
        finite_here, forms_here = bounded(problem, MEMBERS[seed // 7 % 4], arithmetic)
        finite, forms = finite + finite_here, forms + forms_here
    assert forms > COUNT
    assert finite > 0.6 * forms


def bounded(problem: Problem, name: str, arithmetic: Arithmetic) -> tuple[int, int]:
    """Compare the errors of all forms that serve a problem with their bounds; return finite bounds, and forms."""
    member, finite, forms = named_member(name), 0, 0
    exact = reference(problem, 40, member)
    for form in member.mechanism.forms:
        variant = Variant(member, form.name)
        if variant.refusal(problem) is not None:
            continue
        bound = variant.rounding_bound(problem, exact.value, arithmetic)
        assert bound is not None
        error = np.abs(computed_error(variant.run(problem, arithmetic).value, exact))
        error = np.where(np.isnan(error), np.inf, error)
        defined = exact.balls.defined
        assert (error <= bound.sure)[defined].all(), (problem.name, variant.name, arithmetic.name)
        forms += 1
        finite += int(np.isfinite(bound.sure).any())
    return finite, forms


STATES = ("logexp", "elu", "taylor:order=2", "power:degree=2", "favor:features=4")


@pytest.mark.parametrize("part", range(3))
def test_states_serve_padding_and_continued_contexts(part: int) -> None:
    # keys that nobody sees are dropped, and queries may stand anywhere: chunks of one token, and of several
    served = 0
    for seed in range(7000 + part * COUNT, 7000 + (part + 1) * COUNT):
        rng = np.random.default_rng((1302, seed))
        given = drawn(seed, most=40 if seed % 10 == 0 else 6)
        for part_ in ("bias", "softcap", "sinks", "alibi_slopes", "segments", "positions"):
            given.pop(part_, None)
        given.setdefault("alignment", "bottom-right")
        given["window"] = (-1, given.get("window", (0, -1))[1])
        given["scale"] = abs(given.get("scale", 0.5))
        if "mask" in given:
            given["mask"] = rng.random((given["q"].shape[0], 1, 1, given["k"].shape[2])) < 0.6
        arithmetic = list(ARITHMETICS.values())[seed % len(ARITHMETICS)]
        problem = Problem(**given, name=f"problem {seed}").rounded(arithmetic.inputs)
        assert problem.prefixes is not None, seed
        served += bounded(problem, STATES[seed // 7 % len(STATES)], arithmetic)[1]
    assert served > 1.7 * COUNT


@pytest.mark.parametrize("part", range(2))
def test_a_formula_stays_below_its_bound(part: int) -> None:
    finite = 0
    for seed in range(5000 + part * COUNT, 5000 + (part + 1) * COUNT):
        problem = Problem(**drawn(seed), name=f"problem {seed}")
        member = named_member(MEMBERS[1 + seed % 3])
        truths = Truths(problem, [member])
        gap, radius = exact_gap((truths, member), (truths, baseline().member))
        bound = member.mechanism.formula_bound(problem, member)
        assert bound is not None
        defined = ~np.isnan(gap)
        assert (np.abs(gap) <= bound + radius + 1e-25)[defined].all(), (seed, member.name)
        finite += int(np.isfinite(bound).any())
    assert finite > COUNT // 3


@pytest.mark.parametrize("mechanism", ["logexp", "elu", "favor:features=8"])
def test_what_is_no_function_of_logits_has_no_bias(mechanism: str) -> None:
    q = np.ones((2, 3, 4))
    for part in ({"bias": np.eye(3)}, {"softcap": 2.0}, {"sinks": [0.0, 1.0]}, {"alibi_slopes": [0.5, 0.25]}):
        with pytest.raises(InvalidRequestError, match="function of logits"):
            reference(Problem(q, q, q, **part), 10, mechanism)


@pytest.mark.parametrize("form", ["packed", "stream", "dense"])
def test_features_know_no_bias(form: str) -> None:
    q = np.ones((2, 3, 4))
    problem = Problem(q, q, q, bias=np.eye(3))
    with pytest.raises(InvalidRequestError, match=f"with a bias for the form {form}"):
        Variant(named_member("taylor:order=2"), form).run(problem, ARITHMETICS["float64"])
