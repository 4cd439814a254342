"""The tests of ONNX's operator Attention that onnx 1.22.0 ships: exact values agree with every one of them.

Each states what may differ: |found - stored| <= atol + rtol |stored|, with rtol 1e-3 and atol 1e-7 unless its data.json
says otherwise, which none has (load_model_tests in onnx/backend/test/loader, assert_similar_outputs in
onnx/backend/test/runner); float16 tests have no other.  See tests/onnx_attention.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from tests.onnx_attention.problems import HERE, Case, as_stored, cases, matmul_output, present, problem_of
from verify.numbers.formats import named_format
from verify.problem import Problem
from verify.truth import reference

CASES = cases()

# Tests that cannot be asked as a problem, by name, with the reason: none.
LEFT_OUT: dict[str, str] = {}
ASKED = sorted(CASES.keys() - LEFT_OUT.keys())

# Parts of a problem that a wrong reading gets wrong.
WRONG = ("scale", "positions", "softcap", "bias", "lengths", "heads")


def agrees(found: ArrayLike, stored: ArrayLike, case: Case) -> bool:
    """Return whether numbers are those stored, within what the test allows; NaN never is, infinities if equal."""
    given, expected = np.asarray(found, float), np.asarray(stored).astype(float)
    if given.shape != expected.shape or np.isnan(given).any():
        return False
    finite = np.isfinite(expected)
    close = np.abs(given[finite] - expected[finite]) <= case.atol + case.rtol * np.abs(expected[finite])
    return bool(close.all() and (given[~finite] == expected[~finite]).all())


def wrong(problem: Problem, part: str) -> Problem | None:
    """Return a problem read wrong, where that part matters; None where it does not."""
    if part == "heads":  # interleaved the other way round
        groups = problem.k.shape[1]
        order = np.arange(problem.q.shape[1]).reshape(groups, -1).T.ravel()
        return problem.but(q=problem.q[:, order]) if 1 < groups < problem.q.shape[1] else None
    if getattr(problem, part) is None:
        return None
    changed: dict[str, Any] = {
        "positions": None if problem.positions is None else problem.positions + 1,
        "lengths": problem.keys,
    }
    return problem.but(**{part: changed.get(part)})


def test_what_is_stored_is_what_is_run() -> None:
    said = json.loads((HERE / "cases.json").read_text())
    assert said["onnx"] == "1.22.0"
    assert said["wheel_sha256"] in (HERE / "NOTICE.md").read_text()
    assert len(CASES) == 64
    assert {case.opset for case in CASES.values()} == {23, 24}
    assert CASES.keys() >= LEFT_OUT.keys()
    assert len(ASKED) >= 60
    assert {(case.rtol, case.atol) for case in CASES.values()} == {(1e-3, 1e-7)}
    # each kind of thing that problem_of reads is in one of them at least, but for what is checked below
    found: set[str] = set().union(*(case.attributes | case.inputs | case.outputs for case in CASES.values()))
    assert found == {
        *("Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen", "Y", "present_key"),
        *("present_value", "qk_matmul_output", "q_num_heads", "kv_num_heads", "scale", "is_causal", "softcap"),
        "qk_matmul_output_mode",
    }


@pytest.mark.parametrize("name", ASKED)
def test_exact_values_are_those_stored(name: str) -> None:
    case = CASES[name]
    truth = reference(problem_of(case), 20)
    stored = case.outputs["Y"]
    assert agrees(as_stored(case, truth.value), stored, case)
    # They were computed in float64 and rounded once, to float32 or float16: exact values, rounded, are the same.
    # A value within some 1e-15 of the middle between two numbers might differ; none does.
    rounded = as_stored(case, truth.rounded(named_format(str(stored.dtype))))
    assert rounded.dtype == stored.dtype
    np.testing.assert_array_equal(rounded, stored)


@pytest.mark.parametrize("name", ASKED)
def test_other_outputs_are_those_stored(name: str) -> None:
    case = CASES[name]
    others = case.outputs.keys() - {"Y"}
    for output in others - {"qk_matmul_output"}:  # what was joined, and nothing is computed
        np.testing.assert_array_equal(present(case)[output], case.outputs[output])
    if "qk_matmul_output" in others:
        assert agrees(matmul_output(case), case.outputs["qk_matmul_output"], case)


def test_every_mode_of_the_other_output_is_looked_at() -> None:
    modes = [
        case.attributes.get("qk_matmul_output_mode", 0) for case in CASES.values() if "qk_matmul_output" in case.outputs
    ]
    assert set(modes) == {0, 1, 2, 3}
    infinite = [
        name for name, case in CASES.items() if np.isinf(case.outputs.get("qk_matmul_output", np.zeros(1))).any()
    ]
    assert len(infinite) == 2  # mode 2, causal


@pytest.mark.parametrize("part", WRONG)
def test_a_wrong_reading_is_noticed(part: str) -> None:
    misread = 0
    for name, case in CASES.items():
        problem = wrong(problem_of(case), part)
        if problem is not None:
            misread += 1
            assert not agrees(as_stored(case, reference(problem, 20).value), case.outputs["Y"], case), name
    assert misread >= {"lengths": 1}.get(part, 6)


def test_a_planted_error_and_nan_are_noticed() -> None:
    for case in CASES.values():
        stored = case.outputs["Y"].astype(float)
        assert agrees(stored, case.outputs["Y"], case)
        assert not agrees(np.full(stored.shape, np.nan), case.outputs["Y"], case)
        assert not agrees(stored[:1, :, :-1], case.outputs["Y"], case)
        for place in (0, -1):
            for factor in (1.0015, 0.9985, np.nan, np.inf):
                planted = stored.copy()
                planted.flat[place] *= factor
                assert not agrees(planted, case.outputs["Y"], case)
    hidden = next(case for case in CASES.values() if np.isinf(case.outputs.get("qk_matmul_output", 0.0)).any())
    logits = hidden.outputs["qk_matmul_output"]
    assert agrees(logits, logits, hidden)
    assert not agrees(np.where(np.isinf(logits), -1e30, logits), logits, hidden)
    assert not agrees(np.where(np.isinf(logits), np.inf, logits), logits, hidden)


def case_of(attributes: dict[str, Any], **inputs: Any) -> Case:
    return Case("mine", 24, attributes, {name: np.asarray(x) for name, x in inputs.items()}, {}, 1e-3, 1e-7)


def test_readings_that_no_stored_case_has() -> None:
    # the specification, see tests/onnx_attention/problems.py, by hand: equal logits, so outputs are means of values
    q, k = np.zeros((2, 1, 2, 1)), np.zeros((2, 1, 4, 1))
    v = np.broadcast_to(np.arange(4.0)[:, None], (2, 1, 4, 1))
    lengths = np.array([4, 1])
    expected = {
        "causal": (case_of({"is_causal": 1}, Q=q, K=k, V=v), [0.0, 0.5, 0.0, 0.5]),
        # the top left also where keys are padding
        "padded": (case_of({"is_causal": 1}, Q=q, K=k, V=v, nonpad_kv_seqlen=lengths), [0.0, 0.5, 0.0, 0.0]),
        "past": (
            case_of({"is_causal": 1}, Q=q, K=k[:, :, 1:], V=v[:, :, 1:], past_key=k[:, :, :1], past_value=v[:, :, :1]),
            [0.5, 1.0, 0.5, 1.0],
        ),
        "short": (case_of({}, Q=q, K=k, V=v, attn_mask=np.array([[True, True], [False, True]])), [0.5, 1.0, 0.5, 1.0]),
        "nothing": (case_of({}, Q=q, K=k, V=v, attn_mask=np.array([[False, True], [False, False]])), [1.0, 0.0] * 2),
        "no cap": (case_of({"softcap": 0.0, "softmax_precision": 10}, Q=q, K=k, V=v), [1.5] * 4),
    }
    for name, (case, outputs) in expected.items():
        # means of quarters, halves and wholes
        np.testing.assert_array_equal(reference(problem_of(case), 20).value.ravel(), outputs, name)
    with pytest.raises(AssertionError, match="window"):
        problem_of(case_of({"window": 3}, Q=q, K=k, V=v))
