"""attnproof recommend as a user meets it."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pytest

from cli.progress import Update
from tests.cli.running import run


def test_recommend_says_which_order_is_enough(
    capsys: pytest.CaptureFixture[str], inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inputs)
    code, printed, said = run(capsys, "recommend", "good.npz", "--tolerance", "1e-2", "--columns", "500")
    assert (code, said) == (0, "")
    lines = printed.splitlines()
    assert lines[0] == "good.npz: relative error of at most 0.01, exact values, taylor, order up to 31"
    (verdict,) = (line for line in lines if line.startswith("order "))
    assert lines[-1].startswith("The input reaches 1 % with taylor, at order ")
    code, printed, said = run(capsys, "recommend", "good.npz", "--tolerance", "1e-2", "--json")
    (document,) = json.loads(printed)["inputs"]
    assert json.loads(printed)["sentence"] == lines[-1]
    assert (code, said) == (0, "")
    assert {"value", "labels", "guaranteed", "per_head", "cost", "reason"} <= set(document)
    assert (document["mechanism"], document["axis"]) == ("taylor", "order")
    assert document["labels"] == {"order": document["value"], "terms": document["value"] + 1}
    assert document["guaranteed"] >= document["value"]
    assert f"order {document['value']} ({document['labels']['terms']} terms)" in verdict
    assert document["cost"]["features"] == document["cost"]["state_elements"] // 4
    assert [advice["value"] for advice in document["per_head"]] == [document["value"]]
    shown = ("recommend", "good.npz", "--tolerance", "1e-2", "--arithmetic", "float32", "--metric", "max")
    assert run(capsys, *shown)[1].startswith("good.npz: max error of at most 0.01, scores in float32")


def test_none_is_enough(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    q, k, v = np.random.default_rng(341).standard_normal((3, 6, 4))
    np.savez("large.npz", q=30 * q, k=k, v=v)
    code, printed, said = run(
        capsys, "recommend", "large.npz", "--tolerance", "1e-3", "--max-order", "3", "--columns", "500"
    )
    assert (code, said) == (1, "")
    assert "no order up to 3 is enough: the smallest error is" in printed
    assert "logits go from -" in printed
    assert "negative below -1.6" in printed
    code, printed, _ = run(capsys, "recommend", "large.npz", "--tolerance", "1e-3", "--max-order", "3", "--json")
    (document,) = json.loads(printed)["inputs"]
    assert (code, document["value"], document["member"], document["cost"]) == (1, None, None, None)
    assert document["enough"] is False
    assert document["reason"]


@pytest.mark.parametrize(("mechanism", "axis"), [("taylor", "order"), ("power", "degree")])
def test_progress_is_called_by_what_is_varied(
    mechanism: str, axis: str, capsys: pytest.CaptureFixture[str], inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []

    def progress(label: str) -> AbstractContextManager[Update]:
        shown.append(label)
        return nullcontext(lambda done, total, last: None)

    monkeypatch.setattr("cli.recommended.progress_bar", progress)
    code, _, _ = run(capsys, "recommend", inputs / "good.npz", "--tolerance", "9", "--mechanism", mechanism)
    assert (code, shown) == (0, [f"values of {axis}"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["good.npz", "--tolerance", "0"], "tolerance 0.0; expected a number above 0"),
        (["good.npz", "--tolerance", "-1e-3"], "tolerance -0.001; expected a number above 0"),
        (["good.npz", "--tolerance", "nan"], "tolerance nan; expected a number above 0"),
        (["good.npz", "--tolerance", "small"], "tolerance 'small'"),
        (["good.npz"], "tolerance"),
        (["good.npz", "--tolerance", "1", "--metric", "best"], "unknown metric 'best'; expected one of relative"),
        (["good.npz", "--tolerance", "1", "--arithmetic", "float7"], "unknown arithmetic 'float7'"),
        (["good.npz", "--tolerance", "1", "--max-order", "64"], "largest order 64; expected an integer from 0 to 63"),
        (["good.npz", "--tolerance", "1", "--form", "packed"], "--form without --arithmetic"),
        (["nan.npz", "--tolerance", "1"], "the first nan"),
        (["absent.npz", "--tolerance", "1"], "no file absent.npz"),
        (["nosuch", "--tolerance", "1"], "input 'nosuch'"),
        (["normal:d=0", "--tolerance", "1"], "head size 0"),
        (["normal:d=1.5", "--tolerance", "1"], "d '1.5'; expected an integer"),
        (["normal:wide=1", "--tolerance", "1"], "wide"),
        (["good.npz", "--tolerance", "1", "--as", "html"], "style 'html'"),
        (["good.npz", "--tolerance", "1", "--as", "csv", "--json"], "--as csv with --json"),
        (["good.npz", "--tolerance", "1", "--max-state", "0"], "state '0'"),
        (["absent.sqlite", "--tolerance", "1"], "no run file absent.sqlite"),
        (["absent.sqlite", "good.npz", "--tolerance", "1"], "the run file absent.sqlite with the input good.npz"),
        (["absent.sqlite", "--tolerance", "1", "--metric", "max"], "--metric with a run file"),
        (["sample:minilm-layer05", "--tolerance", "1", "--scale", "2"], "--scale with inputs it does not apply to"),
        (["nothing.npz", "--tolerance", "1"], "no query attends to any key"),
        (["big.npz", "--tolerance", "1", "--arithmetic", "float16"], "overflows float16"),
    ],
)
def test_impossible_requests(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    inputs: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(inputs)
    ones = np.ones((2, 3))
    np.savez("nothing.npz", q=ones, k=ones, v=ones, mask=np.zeros((2, 2), dtype=bool))
    np.savez("big.npz", q=1e5 * ones, k=ones, v=ones)
    code, printed, said = run(capsys, "recommend", *arguments)
    assert (code, printed) == (2, "")
    assert message in said
    assert said.count("\n") == 1
