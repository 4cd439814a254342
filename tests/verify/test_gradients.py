"""Gradients: against plain loops, against differences of certified values, and refused where there are none."""

from __future__ import annotations

import importlib
import re
from typing import Any

import numpy as np
import pytest
from mpmath import mp

from tests.people import BITS, drawn, gradient
from verify.errors import InvalidRequestError, TooLargeError
from verify.numbers.precision import mpmath_precision
from verify.problem import Problem
from verify.truth import reference
from verify.truth.gradients import Gradients, gradients

# the function has the module's name
module = importlib.import_module("verify.truth.gradients")

RULES: dict[str, tuple[Any, Any]] = {
    "softmax": (mp.exp, mp.exp),
    "taylor:order=2": (lambda s: 1 + s + s * s / 2, lambda s: 1 + s),
    "taylor:order=4": (
        lambda s: mp.fsum(s**p / mp.factorial(p) for p in range(5)),
        lambda s: mp.fsum(s**p / mp.factorial(p) for p in range(4)),
    ),
}
COUNT = 100


def exact(values: Any) -> Any:
    """Return the centres of balls as mpf."""
    found = np.empty(values.shape, object)
    for place in np.ndindex(values.shape):
        found[place] = mp.ldexp(mp.mpf(int(values.mantissa[place])), int(values.exponent[place]))
    return found


def outside(found: Gradients, name: str, expected: Any, unsure: float = 0.0) -> list[tuple[int, ...]]:
    """Return the elements that lie outside their ball, by more than an expected value may be off."""
    with mpmath_precision(BITS):
        centres, radius = exact(found.balls[name]), found.radius(name)
        return [
            place
            for place in np.ndindex(centres.shape)
            if not abs(centres[place] - expected[place])
            <= mp.mpf(float(radius[place])) + abs(expected[place]) * mp.mpf(2) ** -300 + mp.mpf(2) ** -450 + unsure
        ]


def case(seed: int) -> tuple[dict[str, Any], Any]:
    """Return a problem without lowest biases, whose logits leave no digits, and a dout."""
    rng = np.random.default_rng((1304, seed))
    given = drawn(seed, most=5)
    if "bias" in given:
        given["bias"][given["bias"] < -1e30] = -2.0
    return given, rng.standard_normal((*given["q"].shape[:3], given["v"].shape[3]))


@pytest.mark.parametrize("part", range(5))
def test_plain_loops_lie_in_every_ball(part: int) -> None:
    zeros = 0
    for seed in range(11000 + part * COUNT, 11000 + (part + 1) * COUNT):
        given, dout = case(seed)
        name = list(RULES)[seed % 4 % 3]
        found = gradients(Problem(**given, name=f"problem {seed}"), dout, 25, name)
        expected = gradient(given, dout, *RULES[name])
        bias = given.get("bias", np.zeros(1))
        mask = not bias[np.isfinite(bias)].any() and np.isinf(bias).any()  # in other words
        masks = {"dbias"} if mask else set()
        assert set(found.balls) == set(expected) - masks
        for which in found.balls:
            assert not outside(found, which, expected[which]), (seed, name, which)
            zeros += int(found.absolute[which].sum())
        assert found.digits >= 25
    assert zeros > 10  # single keys, whose outputs nothing moves


@pytest.mark.parametrize("name", ["softmax", "taylor:order=3", "logexp", "power:degree=2"])
def test_differences_of_certified_values_lie_in_every_ball(name: str) -> None:
    # with h = 2^-30, the central difference of an analytic function is off by h^2 / 6 times its third derivative,
    # here below 1e3: 1.5e-16; the values have 60 digits
    h = 2.0**-30
    for seed in range(12000, 12005):
        given, dout = case(seed)
        if name == "logexp":
            for part in ("softcap", "bias", "alibi_slopes", "sinks", "scale"):
                given.pop(part, None)
        given = {key: np.round(x * 1024) / 1024 if key in "qkv" else x for key, x in given.items()}
        found = gradients(Problem(**given), dout, 30, name)
        for which in ("q", "k", "v"):
            expected = np.empty(given[which].shape, object)
            for place in np.ndindex(given[which].shape):
                ends = []
                for sign in (1, -1):
                    moved = given[which].copy()
                    moved[place] += sign * h
                    ends.append(reference(Problem(**(given | {which: moved})), 60, name).to_mpf())
                with mpmath_precision(BITS):
                    change = (ends[0] - ends[1]).ravel().tolist()
                    expected[place] = mp.fdot(change, [mp.mpf(float(x)) for x in dout.ravel()]) / (2 * mp.mpf(h))
            assert not outside(found, f"d{which}", expected, 1e-11), (seed, which)


def test_what_underflows_is_essentially_zero_and_sizes_stay_in_float64() -> None:
    q, k, v, dout = np.random.default_rng(7).standard_normal((4, 3, 2))
    hidden = gradients(Problem(q, k, v, bias=np.triu(np.full((3, 3), -1e9), 1)), dout)
    assert int(hidden.absolute["dbias"].sum()) >= 3  # exp(-1e9) moves nothing
    assert (hidden.radius("dbias")[np.triu(np.ones((3, 3), bool), 1)] < 1e-300).all()
    sunk = gradients(Problem(q, k, v, sinks=1e300), dout)
    assert all(sunk.absolute[name].all() for name in ("dq", "dk", "dv", "dsinks"))
    plain = gradients(Problem(q, k, v), dout).value("dq")
    for of_v, of_dout in ((-548, -548), (-548, 500), (900, -100)):  # powers of two come out again
        found = gradients(Problem(q, k, np.ldexp(v, of_v)), np.ldexp(dout, of_dout))
        with mpmath_precision(BITS):
            for place, centre in np.ndenumerate(exact(found.balls["dq"])):
                assert float(mp.ldexp(centre, -of_v - of_dout)) == plain[place]


def test_a_bias_of_zeros_has_a_gradient() -> None:
    q, k, v, dout = np.random.default_rng(9).standard_normal((4, 3, 2))
    found = gradients(Problem(q, k, v, bias=np.zeros((3, 3))), dout)
    expected = gradients(Problem(q, k, v, bias=np.full((3, 3), 2.0)), dout)  # the same for every key moves nothing
    np.testing.assert_allclose(found.value("dbias"), expected.value("dbias"), rtol=1e-15)
    assert "dbias" not in gradients(Problem(q, k, v, bias=np.where(np.tri(3) > 0, 0.0, -np.inf)), dout).balls


def test_gradients_are_of_what_was_given_before_descales() -> None:
    q, k, v, dout = np.random.default_rng(8).standard_normal((4, 1, 3, 2))
    factors: dict[str, Any] = {"q_descale": [3.0], "k_descale": [0.5], "v_descale": [-2.0]}
    q, k, v = (x.astype(np.float32) for x in (q, k, v))
    found = gradients(Problem(q, k, v, **factors), dout)
    multiplied = [np.asarray(x, np.float64) * f[0] for x, f in zip((q, k, v), factors.values(), strict=True)]
    other = gradients(Problem(multiplied[0], multiplied[1], multiplied[2]), dout)
    for name, (factor,) in zip(("dq", "dk", "dv"), factors.values(), strict=True):
        np.testing.assert_allclose(found.value(name), factor * other.value(name), rtol=4e-16)
    with pytest.raises(InvalidRequestError, match="gradient 'dbias'; expected one of dq, dk, dv"):
        found.value("dbias")


def test_blocks_and_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1305)
    q, k, v = (rng.standard_normal((2, 9, 3)) for _ in range(3))
    problem = Problem(q, k, v, causal=True, bias=rng.standard_normal((9, 9)), sinks=[0.5, 1.0])
    whole = gradients(problem, v, 40)
    monkeypatch.setattr("verify.problem.rows.BLOCK_ROWS", 4)
    monkeypatch.setattr(module, "tile_keys", lambda block, bits: 2)
    parts = gradients(problem, v, 40)
    for name, balls in whole.balls.items():
        for place in np.ndindex(balls.shape):
            assert balls.ball(place).overlaps(parts.balls[name].ball(place)), (name, place)


def test_what_has_no_gradients_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    q = np.ones((2, 3))
    problem = Problem(q, q, q)
    for dout, message in ((q[:1], "dout of shape [1, 3]; expected [2, 3]"), (q * np.nan, "dout holds 6 values")):
        with pytest.raises(InvalidRequestError, match=re.escape(message)):
            gradients(problem, dout)
    with pytest.raises(InvalidRequestError, match="gradients of elu, whose derivative is unknown"):
        gradients(problem, q, 30, "elu")
    with pytest.raises(InvalidRequestError, match="digits 0; expected an integer from 1 to 1000"):
        gradients(problem, q, 0)
    with pytest.raises(InvalidRequestError, match=re.escape("whose weights of query [0] add up to zero")):
        gradients(Problem([[-1.0]], [[1.0]], [[1.0]], scale=1.0), [[1.0]], 30, "taylor:order=1")
    monkeypatch.setattr(module, "PAIRS", 3)
    with pytest.raises(TooLargeError, match="gradients over 4 pairs; expected at most 3"):
        gradients(problem, q)
