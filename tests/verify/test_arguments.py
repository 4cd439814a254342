"""What may be given as what: scalars of any kind, names for objects, and nothing else, refused in our words."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import verify
from verify.attention.state import AttentionState
from verify.families.feature.state import FeatureState
from verify.families.polynomial.state import PolynomialState
from verify.inputs import FileInput, SyntheticInput, sample
from verify.measure.exact import Exact, Setting
from verify.numbers.arithmetic import ARITHMETICS
from verify.numbers.formats import FORMATS, stored_bytes
from verify.recommend import recommend
from verify.truth import demanded, gradients, write_vectors

Q, K, V = np.random.default_rng(5).standard_normal((3, 2, 4, 3))
PROBLEM = verify.Problem(Q, K, V)
TRUTH = verify.reference(PROBLEM, 20)
VARIANT = verify.named_variant("taylor:order=2/packed")


def problem(**parts: Any) -> verify.Problem:
    return verify.Problem(Q, K, V, **parts)


@pytest.mark.parametrize("yes", [True, np.True_, np.array(True), 1, np.int8(1), np.array(1)])
def test_what_says_yes(yes: Any) -> None:
    assert problem(causal=yes).digest == problem(causal=True).digest
    assert verify.Problem.from_sdpa(Q, K, V, is_causal=yes).causal
    assert verify.TaylorState(3, 3, 2, compensated=yes).settings["compensated"] is True


@pytest.mark.parametrize("neither", [2, -1, 1.0, np.float32(1), "yes", None, [True], np.array([True]), np.array("x")])
def test_what_merely_counts_as_yes_is_refused(neither: Any) -> None:
    with pytest.raises(verify.InvalidRequestError, match=r"^causal .*; expected True or False; give a truth value$"):
        problem(causal=neither)


def test_scalars_of_numpy_are_numbers() -> None:
    plain = problem(scale=0.5, softcap=3, window=(1, -1), causal=True)
    for kind in (np.float32, np.float16, np.array):
        one = problem(scale=kind(0.5), softcap=kind(3), window=(np.int64(1), np.array(-1)), causal=True)
        assert one.digest == plain.digest
    assert recommend(PROBLEM, np.array(0.5), largest=np.int8(3)).tolerance == 0.5  # type: ignore[arg-type]
    drawn = SyntheticInput("normal", np.int64(4), np.array(5), np.float32(1), np.uint8(3))  # type: ignore[arg-type]
    assert drawn == SyntheticInput("normal", 4, 5, 1.0, 3)
    assert drawn.name == "normal:d=4,n=5,std=1,seed=3"


def test_names_stand_for_formats_and_arithmetics() -> None:
    half, single = FORMATS["float16"], ARITHMETICS["float32"]
    assert PROBLEM.rounded("float16").digest == PROBLEM.rounded(half).digest
    assert np.array_equal(TRUTH.rounded("bfloat16"), TRUTH.rounded(FORMATS["bfloat16"]))
    assert stored_bytes(3, "float16") == stored_bytes(3, half) == 6
    assert np.array_equal(demanded(TRUTH, "float16").value, demanded(TRUTH, half).value)
    assert np.array_equal(VARIANT.run(PROBLEM, "float32").value, VARIANT.run(PROBLEM, single).value)
    held = PROBLEM.rounded("float32")
    bounds = [VARIANT.rounding_bound(held, TRUTH.value, given) for given in ("float32", single)]
    assert bounds[0] is not None
    assert bounds[1] is not None
    assert np.array_equal(bounds[0].sure, bounds[1].sure)
    assert Setting(Exact(PROBLEM, []), "float32").arithmetic is single
    state = verify.TaylorState(3, 3, 2, arithmetic=single, storage=half)
    assert state.settings == verify.TaylorState(3, 3, 2, arithmetic="float32", storage="float16").settings


NO_FORMATS = (5, None, np.float32, "float61", ["float32"])
NO_PROBLEMS = (5, None, "sample:minilm-layer05", {"q": Q}, Q)

REFUSED: dict[str, tuple[Callable[[Any], object], tuple[Any, ...]]] = {
    "Problem.rounded": (lambda x: PROBLEM.rounded(x), NO_FORMATS),
    "Reference.rounded": (lambda x: TRUTH.rounded(x), NO_FORMATS),
    "demanded": (lambda x: demanded(TRUTH, x), NO_FORMATS),
    "stored_bytes": (lambda x: stored_bytes(1, x), NO_FORMATS),
    "run in": (lambda x: VARIANT.run(PROBLEM, x), NO_FORMATS),
    "bound in": (lambda x: VARIANT.rounding_bound(PROBLEM, TRUTH.value, x), NO_FORMATS),
    "Setting in": (lambda x: Setting(Exact(PROBLEM, []), x), NO_FORMATS),
    "state in": (lambda x: verify.TaylorState(3, 3, 2, arithmetic=x), NO_FORMATS),
    "state kept in": (lambda x: verify.LogExpState(3, 3, storage=x), (5, np.float32, "float61")),
    "reference of": (lambda x: verify.reference(x), NO_PROBLEMS),
    "gradients of": (lambda x: gradients(x, V), NO_PROBLEMS),
    "run on": (lambda x: VARIANT.run(x, "float32"), NO_PROBLEMS),
    "recommend for": (lambda x: recommend(x, 0.5, largest=2), NO_PROBLEMS),
    "memory of": (lambda x: verify.reference(PROBLEM, memory_limit=x), (None, "4", 1.5)),
    "mechanism": (lambda x: recommend(PROBLEM, 0.5, mechanism=x), (5, None, [1])),
    "path": (lambda x: write_vectors(TRUTH, x), (5, None, "x.npz")),
    "paths": (lambda x: FileInput(x), (5, None, "x.npz", (Path("x.npz"),))),
    "sample": (lambda x: sample(x), (5, None, ["x"])),
    "scenario": (lambda x: SyntheticInput(x, 4, 8), (5, None, ["x"])),
    "head size": (lambda x: SyntheticInput("normal", x, 8), ("4", None, 1.5, True)),
    "spread": (lambda x: SyntheticInput("normal", 4, 8, x), ("4", None, True, [1.0])),
    "seed": (lambda x: SyntheticInput("normal", 4, 8, 1.0, x), ("4", None, 1.5)),
    "name": (lambda x: problem(name=x), (5, None, ["x"])),
    "member": (lambda x: PolynomialState(x, 3, 3), (5, None, "taylor:order=2")),
    "features of": (lambda x: FeatureState(x, 3, 3), (5, None, "elu")),
}


@pytest.mark.parametrize(("asked", "given"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_nothing_of_the_kind_is_refused_in_one_line(
    asked: Callable[[Any], object], given: tuple[Any, ...]
) -> None:
    for each in given:
        with pytest.raises(verify.InvalidRequestError) as refused:
            asked(each)
        assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        (lambda: PROBLEM.rounded("bfloat"), "bfloat16"),
        (lambda: VARIANT.run(PROBLEM, "float16+float23"), "float16+float32"),
        (lambda: sample("minilm-layer5"), "minilm-layer05"),
        (lambda: SyntheticInput("neddle", 4, 8), "needle"),
        (lambda: recommend(PROBLEM, 0.5, metric="relativ"), "relative"),
        (lambda: verify.named_variant("taylor:order=2/pakced"), "packed"),
        (lambda: verify.named_member("tailor:order=2"), "taylor"),
        (lambda: verify.named_member("taylor:ordr=2"), "order"),
        (lambda: problem(causal=True, alignment="top-lift"), "top-left"),
    ],
)
def test_near_names_are_suggested(asked: Callable[[], object], near: str) -> None:
    with pytest.raises(verify.InvalidRequestError, match=f"; did you mean {re.escape(near)}\\?$"):
        asked()


def test_what_things_are_in_two_lines_and_without_their_numbers() -> None:
    many = {"mask": np.ones((4, 4), bool), "bias": np.full((2, 1, 4), 1.25), "sinks": np.array([7.5, 0.0])}
    states: list[AttentionState] = [verify.TaylorState(3, 3, 2, lead=(2,), storage="float32"), verify.LogExpState(3, 3)]
    states[0].update(K, V)
    shown = {
        repr(problem(causal=True, window=(1, None), scale=0.5, name="p" * 500, **many)): [
            "q [2, 4, 3]", "float64", "576 bytes", "causal", "(1, None)", "scale 0.5", "mask [4, 4]", "bias", "sinks",
        ],
        repr(TRUTH): ["softmax", "'problem'", "[2, 4, 3]", f"{TRUTH.digits} certified digits", "20 asked for"],
        repr(states[0]): ["TaylorState", "heads [2]", "order 2", "float32", "4 tokens", "320 bytes"],
        repr(states[1]): ["LogExpState", "one head", "0 tokens"],
    }  # fmt: skip
    for text, words in shown.items():
        assert len(text.splitlines()) == 2
        assert max(map(len, text.splitlines())) <= 140
        assert [word for word in words if word not in text] == []
        assert not re.search(r"1\.25|7\.5|array", text)


def test_the_package_says_what_it_has() -> None:
    assert {*verify.__all__, "__version__", "truth", "problem", "inputs", "formats"} <= set(dir(verify))
    assert all(hasattr(verify, name) for name in dir(verify))
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", verify.__version__)
