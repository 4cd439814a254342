"""Tests of ONNX's operator Attention as files: model.onnx, and test_data_set_0/input_0.pb and so on beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from verify.check.foreign.onnx_operator import INPUTS, OPSETS, AttentionNode
from verify.errors import InvalidRequestError
from verify.files.reading import reading

_MODEL = "model.onnx"


def node_tests(folder: Path) -> Iterator[AttentionNode]:
    """Yield the tests of a folder, or of the folders test_attention_... in it.

    Those that end in _expanded are the others, with the operator written out in simpler ones: they are not read.
    Raises InvalidRequestError where there is none, for one that is not understood, and without the package onnx.
    """
    tests = [folder] if (folder / _MODEL).is_file() else sorted(folder.glob(f"test_attention_*/{_MODEL}"))
    tests = [path.parent if path.name == _MODEL else path for path in tests]
    tests = [path for path in tests if not path.name.endswith("_expanded")]
    if not tests:
        raise InvalidRequestError(
            f"{folder} without tests of ONNX's operator Attention",
            f"{_MODEL}, or folders test_attention_* with one",
            "name another folder",
        )
    for path in tests:
        yield from _tests(path)


def _tests(folder: Path) -> Iterator[AttentionNode]:
    model = _read(folder / _MODEL, "ModelProto")
    versions = {own.version for own in model.opset_import if own.domain in ("", "ai.onnx")}
    kinds = [own.op_type for own in model.graph.node]
    if kinds != ["Attention"] or model.graph.node[0].domain not in ("", "ai.onnx"):
        raise InvalidRequestError(
            f"{folder / _MODEL} with the operators {', '.join(kinds)[:60]}", "Attention alone", "name another folder"
        )
    if not versions <= {*OPSETS}:
        raise InvalidRequestError(
            f"{folder / _MODEL} of opset {', '.join(map(str, sorted(versions)))}",
            " or ".join(map(str, OPSETS)),
            "name a test of one of these",
        )
    (node,) = model.graph.node
    names = [own.name for own in model.graph.input]
    if len(node.input) > len(INPUTS) or any(name and name not in names for name in node.input):
        raise InvalidRequestError(
            f"{folder / _MODEL} with inputs of other origin", "inputs of the model", "take another case"
        )
    sets = sorted(folder.glob("test_data_set_*"))
    for own in sets:
        given = {
            role: _tensor(own / f"input_{names.index(name)}.pb")
            for role, name in zip(INPUTS, node.input, strict=False)
            if name
        }
        name = folder.resolve().name if len(sets) == 1 else f"{folder.resolve().name}/{own.name}"
        yield AttentionNode(name, _attributes(node), given)
    if not sets:
        raise InvalidRequestError(f"{folder} without test_data_set_0", "the inputs of the test", "name another folder")


def _read(path: Path, kind: str) -> Any:
    """Return what a file holds as a message of ONNX."""
    try:
        import onnx
    except ImportError as error:
        raise InvalidRequestError(
            f"{path}, without the package onnx ({error})", "an environment that has it", "pip install 'attnproof[onnx]'"
        ) from error
    with reading(path) as file:
        return getattr(onnx, kind).FromString(file.read())


def _tensor(path: Path) -> Any:
    tensor = _read(path, "TensorProto")
    from onnx import numpy_helper

    if tensor.external_data:
        raise InvalidRequestError(f"{path} with numbers in another file", "numbers in the file", "store it so")
    with reading(path):
        return numpy_helper.to_array(tensor)


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    return {own.name: helper.get_attribute_value(own) for own in node.attribute}
