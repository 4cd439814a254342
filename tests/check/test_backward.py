"""Gradients of functions: right ones pass, wrong ones fail with the cause, and the standard itself is right."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.check import derivatives
from tests.cli.running import run
from verify.attention.contract import Member
from verify.check.backward import _standards, output_gradient
from verify.check.differentiated import NAMES, float_gradients, gradient_noise, rounded_gradients
from verify.check.judgement import Standard, Verdict
from verify.errors import InvalidRequestError
from verify.mechanisms.registry import named_member
from verify.numbers.arithmetic import Arithmetic, named_arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem import Problem
from verify.testing import assert_attention_close, cases
from verify.truth.gradients import Gradients, gradients


@pytest.fixture(autouse=True)
def _shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let functions that are asked for the same gradients be held against the same exact ones, made once."""

    def shared(problem: Problem, dout: Float64Array, digits: int, member: Member) -> Gradients:
        key = problem.digest, dout.tobytes(), digits, member.name
        if key not in MADE:
            MADE[key] = gradients(problem, dout, digits, member)
        return MADE[key]

    def standards(exact: Gradients, arithmetic: Arithmetic, *, weigh_trivial: bool) -> dict[str, Standard]:
        key = exact, arithmetic, weigh_trivial
        if key not in HELD:
            HELD[key] = _standards(exact, arithmetic, weigh_trivial=weigh_trivial)
        return HELD[key]

    monkeypatch.setattr("verify.check.backward.gradients", shared)
    monkeypatch.setattr("verify.check.backward._standards", standards)


MADE: dict[tuple[str, bytes, int, str], Gradients] = {}
HELD: dict[tuple[Gradients, Arithmetic, bool], dict[str, Standard]] = {}

FILE = Path(derivatives.__file__)
BY_NAME = {str(case): case for case in cases("full")}


def few(seed: int = 1505, **parts: Any) -> Problem:
    """Return a small problem of float16 numbers, which all arithmetics here hold."""
    rng = np.random.default_rng(seed)
    q, k, v = (rng.standard_normal((1, heads, 7, 4)).astype(np.float16).astype(float) for heads in (4, 2, 2))
    return Problem(q, k, v, **parts)


def everything() -> Problem:
    rng = np.random.default_rng(1506)
    bias = rng.standard_normal((4, 7, 7)).astype(np.float16).astype(float)
    mask = rng.random((7, 7)) < 0.8
    mask[:, 0] = True
    return few(causal=True, alignment="top-left", softcap=2.0, scale=0.75, bias=bias, mask=mask, sinks=bias[:, 0, 0])


@pytest.mark.parametrize("name", ["softmax", "taylor:order=3", "taylor:order=2", "power:degree=2"])
@pytest.mark.parametrize("make", [few, everything])
def test_gradients_in_float64_are_the_exact_ones(name: str, make: Callable[[], Problem]) -> None:
    # 7 keys and size 4: some tens of roundings of numbers of size 10 at most, in weights that do not cancel
    problem, member = make(), named_member(name)
    if member.mechanism.refusal(problem) is not None:
        pytest.skip("the mechanism does not have this problem")
    dout = output_gradient(problem, named_arithmetic("float16"))
    exact, found = gradients(problem, dout, 20, member), float_gradients(problem, dout, member)
    for label in NAMES:
        assert np.abs(found[label] - exact.value(label)).max() < 1e-13 * np.abs(exact.value(label)).max()


@pytest.mark.parametrize("arithmetic", ["float32", "bfloat16+float32", "float16+float32", "float16"])
def test_noise_has_the_size_of_errors(arithmetic: str) -> None:
    # 12 problems: root mean squares of about 1,000 errors each, of independent roundings that are uniform, not normal
    own, member = named_arithmetic(arithmetic), named_member("softmax")
    squares = {label: [0.0, 0.0] for label in NAMES}
    for seed in range(12):
        problem = few(seed).rounded(own.inputs)
        dout = output_gradient(problem, own)
        exact = float_gradients(problem, dout, member)  # some 1e-16 off
        rounded, noise = rounded_gradients(problem, dout, member, own), gradient_noise(problem, dout, member, own)
        for label in NAMES:
            squares[label][0] += float(np.square(rounded[label] - exact[label]).mean())
            squares[label][1] += float(np.square(noise.size[label]).mean())
    for error, size in squares.values():
        assert 0.15 < np.sqrt(error / size) < 1.0


RIGHT = (
    "random",
    "causal",
    "one token",
    "grouped heads",
    "soft cap, causal",
    "given scale",
    "with gaps",
    "logits to 50",
)


@pytest.mark.parametrize("name", RIGHT)
def test_right_gradients_pass(name: str) -> None:
    assert BY_NAME[name].verdict(derivatives.right, backward=True) == Verdict.PASSED


@pytest.mark.parametrize(
    ("function", "name", "cause"),
    [
        (derivatives.wrong_by("delta"), "random", "dout times the output is not taken off"),
        (derivatives.wrong_by("scale"), "causal", "the gradient lacks the scale"),
        (derivatives.wrong_by("cap"), "soft cap", "the slope of the soft cap is missing"),
        (derivatives.wrong_by("group"), "grouped heads", "heads of a group are not added up"),
        (derivatives.wrong_by("mask"), "causal", "causal is ignored"),
        (derivatives.wrong_by("narrow"), "random", "times what rounding explains"),
        (derivatives.zeros, "random", "it returns zeros"),
        (derivatives.zeros, "one token", "it returns zeros"),
        (derivatives.only_values_right, "random", "it returns zeros"),
        (derivatives.exchanged, "random", "dq and dk are exchanged"),
        (derivatives.negative, "random", "it has the opposite sign"),
        (derivatives.all_nan, "random", "elements are not finite"),
        (derivatives.all_nan, "constant v", "elements are not finite"),
        (derivatives.two, "random", "it returned 2 arrays; expected gradients of q, k and v"),
        (derivatives.wide, "random", "its dq is of type float64; expected float32"),
        (derivatives.heads_lost, "random", "its dk has the shape [2, 1, 48, 64]; expected [2, 2, 48, 64]"),
        (derivatives.padding_read, "lengths", "dk: "),
    ],
)
def test_wrong_gradients_fail(function: Callable[..., Any], name: str, cause: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(cause)):
        BY_NAME[name].verdict(function, backward=True)


def test_padding_has_no_gradient() -> None:
    assert BY_NAME["lengths"].verdict(derivatives.padding_left, backward=True) == Verdict.PASSED


def test_gradients_of_a_series_are_held_against_its_own() -> None:
    def series(q: Any, k: Any, v: Any, dout: Any) -> Any:
        scale = q.dtype.type(q.shape[-1] ** -0.5)
        s = q @ np.swapaxes(k, -1, -2) * scale
        w, slope = 1 + s + s * s / 2, 1 + s
        z = w.sum(-1, keepdims=True)
        y = w @ v / z
        change = slope / z * (dout @ np.swapaxes(v, -1, -2) - (dout * y).sum(-1, keepdims=True))
        return change @ k * scale, np.swapaxes(change, -1, -2) @ q * scale, np.swapaxes(w / z, -1, -2) @ dout

    case = BY_NAME["random"]
    assert case.verdict(series, backward=True, mechanism="taylor:order=2") == Verdict.PASSED
    with pytest.raises(AssertionError, match="dq: 192 of 192 rows"):
        case.verdict(series, backward=True, mechanism="softmax")


def test_a_problem_of_ones_own() -> None:
    assert_attention_close(derivatives.right, everything().but(bias=None, mask=None, sinks=None), backward=True)


def test_what_has_no_gradients_is_refused() -> None:
    for function, how, given in (
        (lambda q, k, v: q, {}, "gradients of a function of numpy arrays, which nobody follows"),
        (derivatives.right, {"mechanism": "logexp"}, "whose weights are no function of logits"),
    ):
        with pytest.raises(InvalidRequestError, match=given):
            BY_NAME["random"].verdict(function, backward=True, **how)
    with pytest.raises(InvalidRequestError, match=r"needs dout.*say --backward"):
        BY_NAME["random"].verdict(derivatives.right)


def test_the_command_checks_gradients_and_runs_a_failure_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    left = ",".join(str(case) for case in cases("sharp") if str(case) != "logits to 50")
    how = ("--backward", "--suite", "sharp", "--leave-out", left, "--out", str(tmp_path / "failed"))
    code, printed, said = run(capsys, "check", f"{FILE}:right", *how)
    assert (code, said) == (0, "")
    assert f"the gradient of {FILE}:right passes as softmax in float32" in " ".join(printed.split())
    code, printed, _ = run(capsys, "check", f"{FILE}:without_delta", *how)
    assert code == 1
    assert "Likely: dout times the output is not taken off" in " ".join(printed.split())
    path = next((tmp_path / "failed").iterdir())
    with np.load(path) as held:
        assert held["dout"].shape == held["q"].shape
        entries = dict(held)
    assert run(capsys, "check", f"{FILE}:without_delta", "--replay", str(path))[0] == 1
    assert run(capsys, "check", f"{FILE}:right", "--replay", str(path))[0] == 0
    for number in (0.1, 1e300):  # what the function would be given is another one, or infinite
        entries["dout"][0, 0, 0, 0] = number
        np.savez(path, **entries)
        code, printed, said = run(capsys, "check", f"{FILE}:without_delta", "--replay", str(path))
        assert (code, printed, said.count("\n")) == (2, "", 1)
        assert "dout of logits to 50, which float32 does not hold" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--backward", "--suite", "long"), "suite 'long' of gradients; expected one of quick, full, sharp"),
        (("--backward", "--gate", "fla-ci"), "--gate with gradients; expected outputs, which rules are about"),
    ],
)
def test_what_goes_with_gradients_alone(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, printed = run(capsys, "check", f"{FILE}:right", *arguments)
    assert code == 2
    assert said in " ".join(printed.split())


def test_nothing_is_told_by_a_derivative_of_zero(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Whatever is linear in dout then returns zeros, and they are right."""
    left = ",".join(str(case) for case in cases("sharp") if str(case) != "logits to 50")
    run(
        capsys,
        "check",
        f"{FILE}:without_delta",
        "--backward",
        "--suite",
        "sharp",
        "--leave-out",
        left,
        "--out",
        tmp_path,
    )
    (path,) = tmp_path.iterdir()
    with np.load(path) as held:
        entries = dict(held)
    np.savez(path, **(entries | {"dout": np.zeros_like(entries["dout"])}))
    code, printed, _ = run(capsys, "check", f"{FILE}:without_delta", "--replay", path)
    assert code == 1
    assert "nothing that tells right from wrong was decided" in " ".join(printed.split())
