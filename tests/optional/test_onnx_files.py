"""ONNX's own node tests, as the package onnx ships them: read whole, and put to functions from the command line."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.running import run
from tests.onnx_attention.problems import cases as stored
from verify.check.foreign.onnx_files import node_tests

onnx: Any = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'attnproof[onnx]'")

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "node"
FILE = Path(__file__).parents[1] / "check" / "kernels.py"


def test_what_is_read_is_what_is_stored() -> None:
    known = {f"test_attention_{name}": case.node for name, case in stored().items()}
    read = {node.name: node for node in node_tests(FOLDER)}
    assert known.keys() <= read.keys()
    for name, node in known.items():
        found = read[name]
        said = {key: value.decode() if isinstance(value, bytes) else value for key, value in node.attributes.items()}
        assert found.attributes == said
        assert {key: x.dtype for key, x in found.inputs.items()} == {key: x.dtype for key, x in node.inputs.items()}
        for key, array in node.inputs.items():
            np.testing.assert_array_equal(found.inputs[key], array)


def test_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = run(capsys, "check", f"{FILE}:operator", "--cases", FOLDER / "test_attention_4d_gqa")
    assert code == 0
    assert "passes as softmax in float32: 1 of 1 case." in " ".join(printed.split())
    code, printed, _ = run(capsys, "check", f"{FILE}:operator_tiled", "--cases", FOLDER / "test_attention_4d_gqa")
    assert code == 1
    assert "--only test_attention_4d_gqa" in " ".join(printed.split())


def changed(folder: Path, change: Any) -> Path:
    """Return a copy of a test whose model was changed."""
    own = folder / "test_attention_mine"
    shutil.copytree(FOLDER / "test_attention_4d_gqa", own)
    model = onnx.ModelProto.FromString((own / "model.onnx").read_bytes())
    change(model)
    (own / "model.onnx").write_bytes(model.SerializeToString())
    return own


def with_window(model: Any) -> None:
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("window", 3))


def of_a_later_version(model: Any) -> None:
    model.opset_import[0].version = 99


def another_operator(model: Any) -> None:
    model.graph.node[0].op_type = "RotaryEmbedding"


def of_another_origin(model: Any) -> None:
    model.graph.node[0].input[1] = "made elsewhere"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_window, "attribute window"),
        (of_a_later_version, "opset 99"),
        (another_operator, "RotaryEmbedding"),
        (of_another_origin, "other origin"),
    ],
)
def test_models_that_are_not_understood_are_refused_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, said: str
) -> None:
    code, printed, message = run(capsys, "check", f"{FILE}:operator", "--cases", changed(tmp_path, change))
    assert (code, printed, message.count("\n")) == (2, "", 1)
    assert said in message


def test_files_that_are_torn_are_refused_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = changed(tmp_path, lambda model: None)
    data = own / "test_data_set_0" / "input_1.pb"
    content = data.read_bytes()
    for torn in (content[:-9], b"", b"\xff" * 40):
        data.write_bytes(torn)
        code, printed, message = run(capsys, "check", f"{FILE}:operator", "--cases", own)
        assert (code, printed, message.count("\n")) == (2, "", 1), message
    data.unlink()
    assert "no file" in run(capsys, "check", f"{FILE}:operator", "--cases", own)[2]
    (own / "model.onnx").write_bytes(b"\xff" * 40)
    code, printed, message = run(capsys, "check", f"{FILE}:operator", "--cases", own)
    assert (code, printed, message.count("\n")) == (2, "", 1)
