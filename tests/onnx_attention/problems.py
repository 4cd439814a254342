"""The stored tests of ONNX's operator Attention: what is read from them by `verify.check.foreign.onnx_operator`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from verify.check.foreign.onnx_operator import AttentionNode
from verify.truth import reference

HERE = Path(__file__).parent

# Formats that are stored as their bits.
BITS = {"bfloat16": ml_dtypes.bfloat16}


@dataclass(frozen=True, eq=False)
class Case:
    """A stored test: the operator with its inputs, outputs by name in the formats of the test, and what may differ."""

    node: AttentionNode
    opset: int
    outputs: dict[str, NDArray[Any]]
    rtol: float
    atol: float


def cases() -> dict[str, Case]:
    """Return all stored tests by name."""
    said = json.loads((HERE / "cases.json").read_text())["cases"]
    found = {}
    with np.load(HERE / "cases.npz", allow_pickle=False) as arrays:
        for name, case in said.items():
            inputs, outputs = (
                {
                    tensor["name"]: _restored(arrays[f"{name}/{kind}/{tensor['name']}"], tensor["format"])
                    for tensor in case[f"{kind}s"]
                }
                for kind in ("input", "output")
            )
            node = AttentionNode(name, case["attributes"], inputs)
            found[name] = Case(node, case["opset"], outputs, **case["tolerances"])
    return found


def _restored(array: NDArray[Any], format_: str) -> NDArray[Any]:
    restored = array.view(BITS[format_]) if format_ in BITS else array
    assert str(restored.dtype) == format_
    return restored


def matmul_output(node: AttentionNode) -> NDArray[np.float64]:
    """Return what qk_matmul_output holds, [batch, heads, queries, keys].

    Mode 0: scale q.k.  1: capped.  2: with masks of any kind added.  3: the weights, which are the output for values
    that are unit vectors.  Logits are those of float64, some 1e-15 off; weights are exact ones, rounded.
    """
    problem, mode = node.problem(), node.attributes.get("qk_matmul_output_mode", 0)
    shape = (*problem.q.shape[:-1], problem.keys)
    if mode == 3:
        units = np.broadcast_to(np.eye(problem.keys), (*problem.k.shape[:-1], problem.keys))
        return reference(problem.but(v=units), 20).value
    if mode == 2:
        rows = [np.where(head.attended(), head.logits(), -np.inf) for head in problem.each_head()]
        return np.array(rows).reshape(shape)
    alone = problem.but(bias=None, softcap=problem.softcap if mode == 1 else None)
    return np.array([head.logits() for head in alone.each_head()]).reshape(shape)
