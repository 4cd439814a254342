"""attnproof reference as a user meets it."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests.cli.running import run, start


def test_reference_writes_vectors_and_says_how_many_digits(
    capsys: pytest.CaptureFixture[str], inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inputs)
    code, printed, said = run(capsys, "reference", "good.npz", "--mechanism", "taylor", "--order", "2")
    assert (code, said) == (0, "")
    assert printed.splitlines() == [
        "exact taylor:order=2 on good.npz: 4 x 3 output elements",
        "1 head x 4 queries x 4 keys of size 3; float64; scale 1/sqrt(3); all pairs seen",
        "certified digits: at least 67, 50 asked for",
        "file: reference.npz",
    ]
    with np.load("reference.npz") as vectors:
        assert vectors["decimal"].shape == vectors["value"].shape == vectors["radius"].shape == (4, 3)
        np.testing.assert_array_equal(vectors["decimal"].astype(np.float64), vectors["value"])
    arguments = ("reference", "good.npz", "--causal", "--digits", "20", "--json", "--out", "causal.json")
    for jobs in ("0", "2"):
        code, printed, said = run(capsys, *arguments, "--jobs", jobs, "--force")
        assert (code, said) == (0, "")
        facts = json.loads(printed)
        assert (facts["digits_asked"], facts["elements"], facts["out"]) == (20, 12, "causal.json")
        assert facts["digits_certified"] >= 20
    assert json.loads((inputs / "causal.json").read_text())["causal"] is True
    assert run(capsys, "reference", "reference.npz", "--out", "again.npz")[0] == 0  # it is an input, too


BAD_REFERENCES = {
    "no digits": (["good.npz", "--digits", "0"], "digits '0'; expected an integer from 1 to 1000"),
    "too many digits": (["good.npz", "--digits", "1001"], "expected an integer from 1 to 1000"),
    "digits in words": (["good.npz", "--digits", "many"], "digits 'many'"),
    "mechanism": (["good.npz", "--mechanism", "relu"], "unknown mechanism 'relu'"),
    "order with softmax": (
        ["good.npz", "--order", "2"],
        "unknown parameter 'order'; expected no parameters of softmax",
    ),
    "no order": (["good.npz", "--mechanism", "taylor"], "taylor without order; expected taylor:order=..."),
    "negative order": (["good.npz", "--mechanism", "taylor", "--order", "-1"], "order '-1'"),
    "NaN": (["nan.npz"], "the first nan at index [2, 0]"),
    "infinity": (["infinite.npz"], "the first inf at index"),
    "alignment missing": (["longer.npz", "--causal"], "without an alignment"),
    "memory": (["good.npz", "--memory", "0.0001"], "would need about"),
    "memory in words": (["good.npz", "--memory", "all"], "memory 'all'"),
    "no memory": (["good.npz", "--memory", "nan"], "memory 'nan'"),
    "output exists": (["good.npz", "--out", "nan.npz"], "nan.npz, which exists"),
    "output is the input": (["good.npz", "--out", "good.npz", "--force"], "the input itself"),
    "output is an input": (["q.npy,k.npy,v.npy", "--out", "k.npy", "--force"], "an ending .npz or .json"),
    "output in no folder": (["good.npz", "--out", "absent/out.npz"], "cannot be written"),
    "output in a file": (["good.npz", "--out", "file/out.npz"], "cannot be written"),
    "output is a folder": (["good.npz", "--out", "folder.npz", "--force"], "a folder"),
    "output of another kind": (["good.npz", "--out", "out.csv"], "an ending .npz or .json"),
    "no such input": (["absent.npz"], "no file absent.npz"),
    "no such sample": (["sample:absent"], "unknown sample 'absent'"),
    "no input at all": (["normal"], "input 'normal'; expected one of sample:NAME"),
    "option without effect": (["sample:minilm-layer05", "--scale", "2"], "--scale with inputs it does not apply to"),
    "jobs": (["good.npz", "--jobs", "-1"], "jobs '-1'"),
}


@pytest.mark.parametrize("case", BAD_REFERENCES)
def test_bad_references(
    case: str, capsys: pytest.CaptureFixture[str], inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inputs)
    (inputs / "folder.npz").mkdir()
    np.savez("longer.npz", q=np.ones((2, 3)), k=np.ones((3, 3)), v=np.ones((3, 3)))
    arguments, message = BAD_REFERENCES[case]
    before = {path: path.read_bytes() for path in inputs.iterdir() if path.is_file()}
    code, printed, said = run(capsys, "reference", *arguments)
    assert (code, printed) == (2, "")
    assert message in said
    assert said.startswith("attnproof: ")
    assert said.count("\n") == 1
    assert {path: path.read_bytes() for path in inputs.iterdir() if path.is_file()} == before


def test_a_truth_that_cannot_be_certified_fails(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # logits -1 and -2 through 1/sqrt(9): weights of order 3 that sum to zero, which no ball shows
    q, k = np.zeros((2, 9)), np.zeros((2, 9))
    q[1, 0], k[:, 0] = 3.0, [-1.0, -2.0]
    np.savez("singular.npz", q=q, k=k, v=np.ones((2, 1)))
    code, printed, said = run(capsys, "reference", "singular.npz", "--mechanism", "taylor", "--order", "3")
    assert (code, printed) == (1, "")
    assert "element [1, 0] reached 0 certified digits of 50" in said
    assert said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["singular.npz"]


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_ending_reference_leaves_nothing_behind(asked: signal.Signals, tmp_path: Path) -> None:
    tokens = np.random.default_rng(61).standard_normal((3, 2000, 8))
    np.savez(tmp_path / "long.npz", **dict(zip("qkv", tokens, strict=True)))
    process = start(
        tmp_path,
        *["reference", "long.npz", "--jobs", "0", "--digits", "1000", "--mechanism", "taylor", "--order", "9"],
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        time.sleep(3)
        process.send_signal(asked)
        printed, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, printed) == (130, "")
    assert said.splitlines()[-1].startswith("attnproof: interrupted")
    assert [path.name for path in tmp_path.iterdir()] == ["long.npz"]
