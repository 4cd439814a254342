"""The mechanisms in examples/, against loops over their formulas that know nothing of verify's families."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpmath import mp

from examples.chebyshev import coefficients
from tests.cli.running import run
from tests.readme import ROOT
from verify.arguments import Real, Whole
from verify.errors import InvalidRequestError
from verify.mechanisms import known, named_member
from verify.problem import Problem
from verify.sweep import RunFile
from verify.testing import check_mechanism
from verify.truth import certify, reference

CHEBYSHEV = f"{ROOT}/examples/chebyshev.py:CHEBYSHEV"
HEDGEHOG = f"{ROOT}/examples/hedgehog.py:HEDGEHOG"

Weight = Callable[[Sequence[Any], Sequence[Any], Any], Any]


def chebyshev(order: int, radius: str) -> Weight:
    def weight(q: Sequence[Any], k: Sequence[Any], scale: Any) -> Any:
        r, s = mp.mpf(radius), mp.fdot(q, k) * scale
        return mp.besseli(0, r) + 2 * mp.fsum(mp.besseli(n, r) * mp.chebyt(n, s / r) for n in range(1, order + 1))

    return weight


def hedgehog(q: Sequence[Any], k: Sequence[Any], scale: Any) -> Any:
    return mp.fsum(2 * mp.cosh(a + b) for a, b in zip(q, k, strict=True))


WEIGHTS: dict[str, Weight] = {
    f"{CHEBYSHEV}:order=0": chebyshev(0, "4"),
    f"{CHEBYSHEV}:order=1,radius=0.25": chebyshev(1, "0.25"),
    CHEBYSHEV: chebyshev(3, "4"),
    f"{CHEBYSHEV}:order=12,radius=7.5": chebyshev(12, "7.5"),
    HEDGEHOG: hedgehog,
}


def problems() -> list[Problem]:
    rng = np.random.default_rng(51)
    q, k, v = rng.standard_normal((4, 5, 3)), rng.standard_normal((2, 7, 3)), rng.standard_normal((2, 7, 2))
    mask = rng.random((5, 7)) < 0.6
    return [Problem(q, k, v, mask=mask), Problem(q, k, v, scale=-0.375, causal=True, alignment="bottom-right")]


def exactly(rows: Any) -> list[list[Any]]:
    return [[mp.mpf(x) for x in row] for row in rows.tolist()]


def loop(problem: Problem, weight: Weight) -> dict[tuple[int, ...], Any]:
    outputs = {}
    for head in problem.each_head():
        queries, keys, values = map(exactly, (head.q, head.k, head.v))
        scale = 1 / mp.sqrt(problem.head_size) if head.scale is None else mp.mpf(head.scale)
        for row, attended in enumerate(head.attended()):
            weights = [
                weight(queries[row], key, scale) if seen else 0 for key, seen in zip(keys, attended, strict=True)
            ]
            for j, component in enumerate(zip(*values, strict=True)):
                output = mp.fdot(weights, component) / mp.fsum(weights) if attended.any() else mp.zero
                outputs[*head.index, row, j] = output
    return outputs


@pytest.mark.parametrize("name", WEIGHTS, ids=lambda name: name.rpartition("/")[2])
def test_exact_values_are_those_of_the_formula(name: str) -> None:
    for problem in problems():
        exact = reference(problem, 32, name).to_mpf()
        with mp.workdps(60):
            expected = loop(problem, WEIGHTS[name])
            assert len(expected) == exact.size
            for place, value in expected.items():
                assert abs(exact[place] - value) <= abs(value) * mp.mpf(10) ** -30


@pytest.mark.parametrize("name", WEIGHTS, ids=lambda name: name.rpartition("/")[2])
def test_three_accounts_agree(name: str) -> None:
    rng = np.random.default_rng(52)
    q, k, v = rng.standard_normal((3, 4, 2))
    certificate = certify(Problem(q, k, v), 40, name)
    assert certificate.elements == certificate.rational == 8


@pytest.mark.parametrize("order", [0, 3, 6, 12])
def test_what_the_series_leaves_out_is_what_is_known_of_it(order: int) -> None:
    # T_n(s / R) is 1 at s = R and at most 1 before; I_n(4) beyond n = 60 are below 10^-60
    with mp.workdps(30):
        exact = [mp.mpf(c.numerator) / c.denominator for c in coefficients(order, 4.0)]
        off = [mp.exp(s) - mp.polyval(exact[::-1], s) for s in mp.linspace(-4, 4, 41)]
        rest = 2 * mp.fsum(mp.besseli(n, 4) for n in range(order + 1, 60))
        assert abs(off[-1] - rest) < mp.mpf(10) ** -25
        assert max(map(abs, off)) == off[-1]


def test_what_they_declare() -> None:
    registry = known((CHEBYSHEV, HEDGEHOG))
    chebyshev, hedgehog = (registry.mechanism(name) for name in ("chebyshev", "hedgehog"))
    assert chebyshev.parameters == {"order": Whole(3, 0, 32), "radius": Real(4.0, 0.0, 32.0, above=True)}
    assert (chebyshev.axis, chebyshev.formula_error) == ("order", "truncation")
    assert (hedgehog.axis, hedgehog.formula_error) == (None, "deviation")
    problem = problems()[0]
    cost = registry.variant("hedgehog/stream").costs(problem)
    assert (cost.features, cost.state_elements) == (6, 18)
    with pytest.raises(InvalidRequestError, match="radius 0; expected a number above 0, up to 32"):
        registry.member("chebyshev:radius=0")


@pytest.mark.parametrize(("name", "cells"), [("chebyshev", 4 * 3), ("hedgehog", 2)])
def test_they_are_swept(name: str, cells: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = {"chebyshev": CHEBYSHEV, "hedgehog": HEDGEHOG}[name]
    given = ("--input", "normal", "--head-sizes", 4, "--tokens", 10, "--logit-std", 1, "--orders", "1,2,5", "--jobs", 0)
    out = tmp_path / "run.sqlite"
    chosen, count = f"{name},softmax/softmax", cells + 1
    code, printed, errors = run(
        capsys,
        *("sweep", *given, "--mechanism", own, "--mechanisms", chosen, "--arithmetic", "float16+float32"),
        *("--out", out),
    )
    assert (code, errors) == (0, "")
    counted = f"{count} cells: {count} measured now, 0 found in the file; {count} ok"
    assert counted in printed.splitlines()
    with RunFile(out) as run_file:
        assert {described for _, described in run_file.descriptors()} == {name, "softmax"}
        found = [record for _, record, _ in run_file.records() if record.mechanism == name]
    assert len(found) == cells
    for record in found:
        assert all(bound.share <= 1.0 for bound in record.bounds.values())
        assert "rounding" in record.bounds
        assert record.errors["formula"].relative > record.errors["rounding"].relative > 0.0


@pytest.mark.campaign
@pytest.mark.parametrize(
    "text",
    [CHEBYSHEV, HEDGEHOG],
    ids=["chebyshev", "hedgehog"],
)
def test_they_conform(text: str) -> None:
    check_mechanism(named_member(text).mechanism)
