"""Definitions and workloads of FlashInfer-Bench: what is right passes, what is wrong fails, what is odd is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.check.flashinfer import HEADS, definition, solved, written
from tests.cli.running import run
from verify.check.foreign import sequences
from verify.check.foreign.posed import ForeignCase, How, Posed
from verify.check.foreign.reading import foreign_cases
from verify.check.judgement import Verdict
from verify.testing import cases
from verify.truth import reference

KINDS = [
    ("gqa_paged", "decode", 1),
    ("gqa_paged", "decode", 16),
    ("gqa_paged", "prefill_causal", 1),
    ("gqa_paged", "prefill_causal", 16),
    ("gqa_ragged", "prefill_causal", 1),
    ("mla_paged", "decode", 1),
    ("mla_paged", "decode", 16),
    ("mla_paged", "prefill_causal", 1),
]


def kernel(**given: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    return solved(given)


def got_wrong(wrong: str) -> Callable[..., Any]:
    return lambda **given: solved(given, wrong=wrong)


def posed(case: ForeignCase) -> Posed:
    found = case.pose(How(None))
    assert isinstance(found, Posed)
    return found


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "stage", "page"), KINDS)
def test_the_problem_is_the_one_of_a_loop_over_sequences(tmp_path: Path, kind: str, stage: str, page: int) -> None:
    path = written(tmp_path, definition(kind, stage, page))
    output, sums = foreign_cases(path.split(","))
    own = posed(output)
    given = {name: x.astype(float) if x.dtype.kind == "f" else x for name, x in own.given.named.items()}
    expected, lse = solved({**given, **own.given.keywords})
    assert own.answer == expected.shape
    # the loop has about seven digits: its logits are float32
    close(reference(own.problem, 20).value, own.taken(expected))
    close(reference(own.problem, 20).log_sum_exp(2)[0], posed(sums).taken(lse)[..., 0])
    assert not own.problem.attended_rows.all()  # a sequence has no key
    # every element stands where place says
    marked = np.arange(expected.size).reshape(expected.shape)
    for index in ((0, 0, 0), (HEADS - 1, 1, 3), (1, own.problem.queries - 1, 5)):
        assert own.taken(marked)[index] == marked[own.place(index)]


@pytest.mark.parametrize(("kind", "stage", "page"), KINDS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_right_kernel_passes(tmp_path: Path, kind: str, stage: str, page: int, dtype: str) -> None:
    path = written(tmp_path, definition(kind, stage, page, dtype))
    assert [case.verdict(kernel) for case in cases(path)] == [Verdict.PASSED] * 2


def test_lengths_of_last_pages_with_more_entries_than_sequences_as_published(tmp_path: Path) -> None:
    def padded(parts: dict[str, Any]) -> None:
        parts["definition"]["inputs"]["kv_last_page_len"]["shape"] = ["total_q"]
        parts["arrays"]["kv_last_page_len"] = np.array([3, 0, 16, 99, 99, 99, 99], np.int32)

    path = written(tmp_path, definition("gqa_paged", "prefill_causal", 16), padded)
    assert [case.verdict(kernel) for case in cases(path)] == [Verdict.PASSED] * 2


def test_a_mechanism_is_judged_by_its_outputs_alone(tmp_path: Path) -> None:
    output, sums = cases(written(tmp_path, definition("gqa_paged", "decode", 1)))
    with pytest.raises(AssertionError, match="rows are off"):
        output.verdict(kernel, mechanism="taylor:order=1")
    assert sums.verdict(kernel, mechanism="taylor:order=1") == Verdict.LEFT_OUT
    assert output.verdict(kernel, arithmetic="float64") == Verdict.LEFT_OUT


def test_sums_whose_base_is_not_said_are_left_out(tmp_path: Path) -> None:
    own = definition("gqa_paged", "decode", 1)
    del own["outputs"]["lse"]["description"]
    assert [case.verdict(kernel) for case in cases(written(tmp_path, own))] == [Verdict.PASSED, Verdict.LEFT_OUT]


WRONG = {
    "full page": [("gqa_paged", "decode", 16), ("mla_paged", "decode", 16), ("gqa_paged", "prefill_causal", 16)],
    "order": [("gqa_paged", "prefill_causal", 1), ("gqa_paged", "decode", 16)],
    "heads": [("gqa_paged", "decode", 1), ("gqa_ragged", "prefill_causal", 1)],
    "top left": [
        ("gqa_ragged", "prefill_causal", 1),
        ("gqa_paged", "prefill_causal", 1),
        ("mla_paged", "prefill_causal", 1),
    ],
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_wrong_kernel_fails(tmp_path: Path, wrong: str, dtype: str) -> None:
    for kind in WRONG[wrong]:
        for case in cases(written(tmp_path, definition(*kind, dtype))):
            with pytest.raises(AssertionError, match=r"0b6c.*rows are off"):
                case.verdict(got_wrong(wrong))


def test_a_wrong_logarithm_fails_by_itself(tmp_path: Path) -> None:
    output, sums = cases(written(tmp_path, definition("gqa_paged", "decode", 16)))
    assert output.verdict(got_wrong("natural")) == Verdict.PASSED
    with pytest.raises(AssertionError, match="base 2 is asked for"):
        sums.verdict(got_wrong("natural"))
    with pytest.raises(AssertionError, match="returned no output 2"):
        sums.verdict(lambda **given: solved(given)[0])
    with pytest.raises(AssertionError, match="minus infinity"):
        sums.verdict(lambda **given: (0, np.maximum(solved(given)[1], -1e30)))


ANSWERS: dict[str, Callable[[NDArray[Any]], Any]] = {
    "not finite": lambda y: np.full_like(y, np.nan),
    "are off by": np.zeros_like,
    r"shape \[3, 4, 15\]": lambda y: y[..., :-1].copy(),
    "type float64": lambda y: y.astype(np.float64),
}


@pytest.mark.parametrize("said", ANSWERS)
def test_answers_that_are_none_fail(tmp_path: Path, said: str) -> None:
    case, _ = cases(written(tmp_path, definition("gqa_paged", "decode", 16)))
    with pytest.raises(AssertionError, match=said):
        case.verdict(lambda **given: ANSWERS[said](solved(given)[0]))


def test_of_a_large_workload_rows_and_heads_are_judged_and_their_own_keys_alone(tmp_path: Path) -> None:
    def large(parts: dict[str, Any]) -> None:
        ends = np.array([0, *range(99), 120_000], np.int32)  # the first has no key, the last nearly all
        order = np.random.default_rng(1).permutation(120_000).astype(np.int32)
        parts["arrays"] = {"kv_indptr": ends, "kv_indices": order}
        parts["workload"]["axes"] = {
            "batch_size": 100,
            "len_indptr": 101,
            "num_pages": 120_000,
            "num_kv_indices": 120_000,
        }

    case, _ = foreign_cases(written(tmp_path, definition("gqa_paged", "decode", 1), large).split(","))
    own = posed(case)
    assert own.reason == "100 sequences of 0 to 119,902 keys; judged: 3 of 100 rows and 1 of 4 heads"
    assert (own.problem.q.shape, own.problem.k.shape) == ((1, 3, 16), (1, 119_904, 16))
    assert own.place((0, 1, 5)) == (50, 1, 5)
    pages = own.given.named["kv_indices"][[0, 49, *range(98, 120_000)]]
    np.testing.assert_array_equal(own.problem.k[0], own.given.named["k_cache"][pages, 0, 0])
    np.testing.assert_array_equal(own.problem.q[0], own.given.named["q"][[1, 50, 99], 1])
    output = np.arange(100 * 4 * 16).reshape((100, 4, 16))
    np.testing.assert_array_equal(own.taken(output), output[[1, 50, 99]][:, [1]].swapaxes(0, 1))


@pytest.mark.parametrize("wrong", ["", "heads"])
def test_heads_that_are_tiled_show_in_the_one_that_is_judged(
    tmp_path: Path, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequences, "_BUDGET", 300.0)
    case, _ = cases(written(tmp_path, definition("gqa_paged", "decode", 1)))
    assert isinstance(case.case, ForeignCase)
    assert posed(case.case).reason.endswith("judged: 2 of 3 rows and 1 of 4 heads")
    if not wrong:
        assert case.verdict(kernel) == Verdict.PASSED
    else:
        with pytest.raises(AssertionError, match="rows are off"):
            case.verdict(got_wrong(wrong))


def test_numbers_drawn_at_random_are_the_same_every_time_and_differ_by_input(tmp_path: Path) -> None:
    path = written(tmp_path, definition("gqa_paged", "decode", 1, "bfloat16"))
    first, again = (posed(foreign_cases(path.split(","))[0]).given.named for _ in range(2))
    assert all(first[name].tobytes() == again[name].tobytes() for name in first)
    assert first["k_cache"].tobytes() != first["v_cache"].tobytes()
    assert first["k_cache"].dtype.name == "bfloat16"
    sample = np.concatenate([x.astype(np.float64).ravel() for name, x in first.items() if x.dtype.name == "bfloat16"])
    assert len(sample) > 900
    assert abs(sample.mean()) < 5 / len(sample) ** 0.5
    assert abs(sample.std() - 1) < 5 / (2 * len(sample)) ** 0.5


Change = Callable[[dict[str, Any]], Any]


def places(**arrays: Any) -> Change:
    return lambda parts: parts["arrays"].update({n: np.array(x, np.int32) for n, x in arrays.items()})


def inside(*path: str, **changed: Any) -> Change:
    def change(parts: dict[str, Any]) -> None:
        own: Any = parts
        for name in path:
            own = own[name]
        own.update(changed)

    return change


def without(*path: str) -> Change:
    def change(parts: dict[str, Any]) -> None:
        own: Any = parts
        for name in path[:-1]:
            own = own[name]
        del own[path[-1]]

    return change


DEFINED, INPUTS, GIVEN = ("definition",), ("definition", "inputs"), ("workload", "inputs")

# How a paged prefill with pages of 16 tokens is malformed, with a word of what is said.
MALFORMED: dict[str, tuple[Change, str]] = {
    "unknown field": (inside(*DEFINED, window=128), "window, which is not understood"),
    "kind": (inside(*DEFINED, op_type="dsa_paged"), "dsa_paged"),
    "name": (inside(*DEFINED, name="gqa_paged_prefill_h4_kv2_d16_ps16"), "prefill_causal"),
    "name's size": (inside(*DEFINED, name="gqa_paged_prefill_causal_h8_kv2_d16_ps16"), "h8"),
    "constraint": (inside(*DEFINED, constraints=["total_q <= 4"]), "constraint"),
    "unknown input": (inside(*INPUTS, sinks={"shape": ["num_qo_heads"], "dtype": "float32"}), "sinks"),
    "no input": (without(*INPUTS, "kv_indices"), "no kv_indices"),
    "no last page": (without(*INPUTS, "kv_last_page_len"), "without kv_last_page_len"),
    "optional": (inside(*INPUTS, "sm_scale", optional=True), "optional"),
    "axis order": (inside(*INPUTS, "q", shape=["num_qo_heads", "total_q", "head_dim"]), "axis"),
    "unknown axis": (inside(*DEFINED, "axes", window={"type": "const", "value": 8}), "window"),
    "two formats": (inside(*INPUTS, "q", dtype="bfloat16"), "bfloat16, float32"),
    "integers of floats": (inside(*INPUTS, "kv_indptr", dtype="float32"), "int32"),
    "another format": (inside(*DEFINED, "outputs", "output", dtype="float8_e5m2"), "float8_e5m2"),
    "another definition": (lambda parts: parts.update(line={"definition": "gemm"}), "gemm"),
    "a solution": (lambda parts: parts.update(line={"solution": "mine"}), "solution"),
    "axes lack": (without("workload", "axes", "num_pages"), "no num_pages"),
    "axes differ": (inside("workload", "axes", batch_size=2), "int32 [2]"),
    "negative axis": (inside("workload", "axes", num_pages=-1), "-1"),
    "too large": (inside("workload", "axes", num_pages=1 << 30), "2 GiB at most"),
    "random places": (inside(*GIVEN, kv_indices={"type": "random"}), "random integers"),
    "pickle": (inside(*GIVEN, q={"type": "safetensors", "path": "q.pt", "tensor_key": "q"}), ".safetensors"),
    "unknown source": (inside(*GIVEN, q={"type": "url", "path": "x"}), "url"),
    "no such tensor": (inside(*GIVEN, "kv_indptr", tensor_key="there"), "'there'"),
    "scale": (inside(*GIVEN, sm_scale={"type": "scalar", "value": True}), "True"),
    "shape": (places(kv_indptr=[0, 5, 12]), "int32 [3]"),
    "offsets fall": (places(kv_indptr=[0, 5, 3, 12]), "never less than before"),
    "offsets end": (places(qo_indptr=[0, 3, 4, 6]), "from 0 to 7"),
    "beyond the cache": (places(kv_indices=[12, *range(11)]), "beyond the cache"),
    "last page": (places(kv_last_page_len=[17, 1, 1]), "17"),
    "no last token": (places(kv_last_page_len=[3, 0, 0]), "kv_last_page_len 0 of sequence 2"),
}


@pytest.mark.parametrize("how", MALFORMED)
def test_what_is_not_understood_is_refused_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    change, said = MALFORMED[how]
    path = written(tmp_path, definition("gqa_paged", "prefill_causal", 16), change)
    code, printed, message = run(capsys, "check", "numpy:dot", "--cases", path)
    assert (code, printed, message.count("\n")) == (2, "", 1), message
    assert said in message


def test_paths_that_are_none_are_refused_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, definition("gqa_paged", "decode", 1))
    alone = path.split(",")[0]
    (tmp_path / "torn.json").write_text('{"name": ')
    (tmp_path / "twice.json").write_text('{"name": 1, "name": 2}')
    (tmp_path / "empty.jsonl").write_text("\n")
    wanted = {
        alone: "without workloads",
        f"{alone},{alone}": "DEFINITION.json,WORKLOADS.jsonl",
        f"{tmp_path}/torn.json,{tmp_path}/own.jsonl": "no JSON",
        f"{tmp_path}/twice.json,{tmp_path}/own.jsonl": "stands twice",
        f"{tmp_path}/none.json,{tmp_path}/own.jsonl": "no file",
        f"{alone},{tmp_path}/empty.jsonl": "no workload",
        str(tmp_path): "without tests of ONNX",
    }
    for given, said in wanted.items():
        code, printed, message = run(capsys, "check", "numpy:dot", "--cases", given)
        assert (code, printed, message.count("\n")) == (2, "", 1), message
        assert said in message
    for more, said in (
        (["--only", "there"], "case 'there'"),
        (["--suite", "full"], "--suite"),
        (["--replay", "x.npz"], "--replay"),
        (["--arithmetic", "float64"], "--arithmetic float32"),
        (["--layout", "bshd"], "leave them out"),
    ):
        code, _, message = run(capsys, "check", f"{FILE}:right", "--cases", path, *more)
        assert (code, message.count("\n")) == (2, 1)
        assert said in message
    for function, said in (("other_names", "does not take q"), ("needs_more", "needs workspace")):
        code, _, message = run(capsys, "check", f"{FILE}:{function}", "--cases", path)
        assert (code, message.count("\n")) == (2, 1)
        assert said in message


FILE = Path(__file__).with_name("kernels.py")


def test_without_the_package_onnx_a_line_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    (tmp_path / "test_attention_mine").mkdir()
    (tmp_path / "test_attention_mine" / "model.onnx").touch()
    code, printed, message = run(capsys, "check", f"{FILE}:operator", "--cases", tmp_path)
    assert (code, printed, message.count("\n")) == (2, "", 1)
    assert "pip install 'attnproof[onnx]'" in message


def test_from_the_command_line_to_the_command_that_runs_a_case_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, definition("gqa_ragged", "prefill_causal"), places(qo_indptr=[0, 3, 3, 7]))
    code, printed, _ = run(capsys, "check", f"{FILE}:right", "--cases", path)
    assert code == 0
    assert "passes as softmax in float32: 2 of 2 cases." in " ".join(printed.split())
    code, printed, _ = run(capsys, "check", f"{FILE}:top_left", "--cases", path, "--gate", "fla-ci")
    text = " ".join(printed.split())
    assert code == 1
    assert "Likely: causal is aligned at the other end" in text
    assert "gate fla-ci accepts 0 of 1 case that failed here" in text
    command = printed.splitlines()[-1].split()
    assert command == ["attnproof", "check", f"{FILE}:top_left", "--cases", path, "--only", "0b6c"]
    code, printed, _ = run(capsys, *command[1:], "--json")
    assert code == 1
    (case,) = json.loads(printed)["cases"]
    assert (case["case"], case["verdict"], case["replay"]) == ("0b6c", "failed", None)
    # elements are named as they stand in the function's output, [row, head, component]
    worst = case["worst"][0]
    (own, _) = foreign_cases(path.split(","))
    given = posed(own).given
    found = solved({**given.named, **given.keywords}, wrong="top left")[0]
    assert float(found[tuple(worst["index"])]) == worst["got"]
