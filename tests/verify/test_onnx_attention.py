"""The tests of ONNX's operator Attention that onnx 1.22.0 ships: exact values agree with every one of them.

Each states what may differ: |found - stored| <= atol + rtol |stored|, with rtol 1e-3 and atol 1e-7 unless its data.json
says otherwise, which none has (load_model_tests in onnx/backend/test/loader, assert_similar_outputs in
onnx/backend/test/runner); float16 tests have no other.  See tests/onnx_attention.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from tests.onnx_attention.problems import HERE, Case, cases, matmul_output
from verify.check.foreign.onnx_operator import AttentionNode
from verify.check.judgement import Verdict
from verify.errors import InvalidRequestError
from verify.numbers.formats import named_format
from verify.problem import Problem
from verify.testing import AttentionCase
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
    # each kind of thing that is read is in one of them at least, but for what is checked below
    found: set[str] = set().union(
        *({*case.node.attributes, *case.node.inputs, *case.outputs} for case in CASES.values())
    )
    assert found == {
        *("Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen", "Y", "present_key"),
        *("present_value", "qk_matmul_output", "q_num_heads", "kv_num_heads", "scale", "is_causal", "softcap"),
        "qk_matmul_output_mode",
    }


@pytest.mark.parametrize("name", ASKED)
def test_exact_values_are_those_stored(name: str) -> None:
    case = CASES[name]
    truth = reference(case.node.problem(), 20)
    stored = case.outputs["Y"]
    assert agrees(case.node.as_given(truth.value), stored, case)
    # They were computed in float64 and rounded once, to float32 or float16: exact values, rounded, are the same.
    # A value within some 1e-15 of the middle between two numbers might differ; none does.
    rounded = case.node.as_given(truth.rounded(named_format(str(stored.dtype))))
    assert rounded.dtype == stored.dtype
    np.testing.assert_array_equal(rounded, stored)


@pytest.mark.parametrize("name", ASKED)
def test_other_outputs_are_those_stored(name: str) -> None:
    case = CASES[name]
    others = case.outputs.keys() - {"Y"}
    for output in others - {"qk_matmul_output"}:  # what was joined, and nothing is computed
        np.testing.assert_array_equal(case.node.present()[output], case.outputs[output])
    if "qk_matmul_output" in others:
        assert agrees(matmul_output(case.node), case.outputs["qk_matmul_output"], case)


def test_every_mode_of_the_other_output_is_looked_at() -> None:
    modes = [
        case.node.attributes.get("qk_matmul_output_mode", 0)
        for case in CASES.values()
        if "qk_matmul_output" in case.outputs
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
        problem = wrong(case.node.problem(), part)
        if problem is not None:
            misread += 1
            assert not agrees(case.node.as_given(reference(problem, 20).value), case.outputs["Y"], case), name
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


def node_of(attributes: dict[str, Any], **inputs: Any) -> AttentionNode:
    return AttentionNode("mine", attributes, {name: np.asarray(x) for name, x in inputs.items()})


def test_readings_that_no_stored_case_has() -> None:
    # the specification by hand, as onnx_operator tells it: equal logits, so outputs are means of values
    q, k = np.zeros((2, 1, 2, 1)), np.zeros((2, 1, 4, 1))
    v = np.broadcast_to(np.arange(4.0)[:, None], (2, 1, 4, 1))
    lengths = np.array([4, 1])
    expected = {
        "causal": (node_of({"is_causal": 1}, Q=q, K=k, V=v), [0.0, 0.5, 0.0, 0.5]),
        # the top left also where keys are padding
        "padded": (node_of({"is_causal": 1}, Q=q, K=k, V=v, nonpad_kv_seqlen=lengths), [0.0, 0.5, 0.0, 0.0]),
        "past": (
            node_of({"is_causal": 1}, Q=q, K=k[:, :, 1:], V=v[:, :, 1:], past_key=k[:, :, :1], past_value=v[:, :, :1]),
            [0.5, 1.0, 0.5, 1.0],
        ),
        "short": (node_of({}, Q=q, K=k, V=v, attn_mask=np.array([[True, True], [False, True]])), [0.5, 1.0, 0.5, 1.0]),
        "nothing": (node_of({}, Q=q, K=k, V=v, attn_mask=np.array([[False, True], [False, False]])), [1.0, 0.0] * 2),
        "no cap": (node_of({"softcap": 0.0, "softmax_precision": 10}, Q=q, K=k, V=v), [1.5] * 4),
    }
    for name, (node, outputs) in expected.items():
        # means of quarters, halves and wholes
        np.testing.assert_array_equal(reference(node.problem(), 20).value.ravel(), outputs, name)


ONES = {"Q": np.ones((2, 3, 8)), "K": np.ones((2, 5, 8)), "V": np.ones((2, 5, 8))}
HEADS = {"q_num_heads": 4, "kv_num_heads": 2}

REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "attribute window": (HEADS | {"window": 3}, ONES),
    "input sinks": (HEADS, ONES | {"sinks": np.ones(4)}),
    "without a V": (HEADS, {name: ONES[name] for name in "QK"}),
    "3 as q_num_heads": (HEADS | {"q_num_heads": 3}, ONES),
    "0 as kv_num_heads": ({"q_num_heads": 4}, ONES),
    "past_key of": (HEADS, ONES | {"past_key": np.ones((2, 4, 1, 4))}),
    "6 keys at most|5 keys at most": (HEADS, ONES | {"attn_mask": np.ones((3, 6), bool)}),
    "attn_mask of type int8": (HEADS, ONES | {"attn_mask": np.ones((3, 5), np.int8)}),
    "lengths": ({"q_num_heads": 2, "kv_num_heads": 2}, ONES | {"nonpad_kv_seqlen": np.array([5, 6])}),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_is_not_understood_is_refused(said: str) -> None:
    attributes, inputs = REFUSED[said]
    with pytest.raises(InvalidRequestError, match=said):
        node_of(attributes, **inputs).problem()


def test_formats_that_are_no_arithmetic_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="float32, float64"):
        _ = node_of(HEADS, **ONES | {"Q": np.ones((2, 3, 8), np.float32)}).arithmetic


def operator(
    Q: Any,
    K: Any,
    V: Any,
    attn_mask: Any = None,
    past_key: Any = None,
    past_value: Any = None,
    nonpad_kv_seqlen: Any = None,
    **said: Any,
) -> Any:
    """The operator in float64, written from its document; said: wrong is what is got wrong."""
    wrong = said.get("wrong", "")
    kind, flat = Q.dtype, Q.ndim == 3
    heads = (said.get("q_num_heads"), said.get("kv_num_heads"), said.get("kv_num_heads"))
    q, k, v = (
        x.reshape((*x.shape[:2], h, -1)).swapaxes(1, 2).astype(float) if flat else x.astype(float)
        for x, h in zip((Q, K, V), heads, strict=True)
    )
    past = 0
    if past_key is not None and wrong != "past":
        past = past_key.shape[2]
        k, v = np.concatenate([past_key, k], axis=2), np.concatenate([past_value, v], axis=2)
    k, v = (x.repeat(q.shape[1] // x.shape[1], axis=1) for x in (k, v))
    logits = said.get("scale", q.shape[-1] ** -0.5) * q @ k.swapaxes(-1, -2)
    if said.get("softcap") and wrong != "softcap":
        logits = said["softcap"] * np.tanh(logits / said["softcap"])
    if attn_mask is not None and wrong != "mask":
        added = np.where(attn_mask, 0.0, -np.inf) if attn_mask.dtype == bool else attn_mask.astype(float)
        logits[..., added.shape[-1] :] = -np.inf
        logits[..., : added.shape[-1]] += added
    if said.get("is_causal"):
        stands = np.arange(q.shape[2])[:, None] + (past if wrong != "causal" else 0)
        logits = np.where(np.arange(k.shape[2]) <= stands, logits, -np.inf)
    if nonpad_kv_seqlen is not None and wrong != "lengths":
        logits = np.where(np.arange(k.shape[2]) < nonpad_kv_seqlen[:, None, None, None], logits, -np.inf)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    output = (weights @ v / weights.sum(axis=-1, keepdims=True)).astype(kind)
    return output.swapaxes(1, 2).reshape((*Q.shape[:2], -1)) if flat else output


def test_the_operator_passes_every_stored_test_and_fails_where_it_is_wrong() -> None:
    verdicts = {name: AttentionCase(case.node.case()).verdict(operator) for name, case in CASES.items()}
    # of the one whose values are the same for all tokens of a head any weights are right
    assert {name for name, verdict in verdicts.items() if verdict != Verdict.PASSED} == {"3d_transpose_verification"}
    assert verdicts["3d_transpose_verification"] == Verdict.UNDECIDABLE
    assert len(verdicts) == 64
    for wrong, least in (("past", 8), ("softcap", 4), ("mask", 20), ("causal", 1), ("lengths", 1)):
        failed = 0
        for case in CASES.values():
            try:
                AttentionCase(case.node.case()).verdict(partial(operator, wrong=wrong))
            except AssertionError:
                failed += 1
        assert failed >= least, wrong


def test_a_function_is_given_what_it_takes() -> None:
    def without_past(Q: Any, K: Any, V: Any, attn_mask: Any = None, is_causal: int = 0) -> Any:
        return operator(Q, K, V, attn_mask, is_causal=is_causal)

    def attention(query: Any, key: Any, value: Any, attn_mask: Any = None, scale: float | None = None) -> Any:
        return operator(query, key, value, attn_mask, scale=scale or query.shape[-1] ** -0.5)

    for function, passed in ((without_past, 19), (attention, 33)):
        verdicts = Counter(AttentionCase(case.node.case()).verdict(function) for case in CASES.values())
        assert verdicts[Verdict.LEFT_OUT] <= 64 - passed
        assert verdicts[Verdict.PASSED] >= passed
