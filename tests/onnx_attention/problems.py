"""The stored tests of ONNX's operator Attention as problems.

What the operator means is read from its specification in onnx 1.22.0, opset 24: the document of the operator, and the
function body that defines it (onnx/defs/nn/defs.cc, onnx/defs/nn/utils.cc), which the document leaves the details to.

- 3D inputs [batch, tokens, heads * size] are split into q_num_heads and kv_num_heads heads; 4D ones are [batch, heads,
  tokens, size].  Query heads g H/G .. (g + 1) H/G - 1 read key head g ("repeat_interleave" in the body).
- past_key and past_value stand before K and V; present_key and present_value are both together.
- Logits are scale q.k, 1/sqrt(head size) where no scale is given; then softcap tanh(s / softcap), unless that is 0;
  then attn_mask, what is_causal hides and what nonpad_kv_seqlen hides are added.  So what a mask hides stays hidden.
- attn_mask: True is seen; numbers are added.  A last axis shorter than the keys is continued with minus infinity.
- is_causal: query i sees keys up to past_sequence_length + i ("RangeRow2DPast"): at the top left among the new keys,
  as the attribute says, also where queries and keys are not as many, and whatever nonpad_kv_seqlen is.
- nonpad_kv_seqlen: so many keys of each of the batch exist.
- softmax_precision: in what the softmax is computed; exact values have none, so it changes nothing here.
- Of a row that sees nothing the document says nothing, and the softmax of the body has no value; it is 0 here, as in
  every problem.  No stored test has one.
- qk_matmul_output: an output of what stands before the softmax, or of the weights; see `matmul_output`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from verify.problem import Problem
from verify.truth import reference

HERE = Path(__file__).parent

# Formats that are stored as their bits.
BITS = {"bfloat16": ml_dtypes.bfloat16}

# Attributes that are read here; softmax_precision changes no exact value.
ATTRIBUTES = {
    *("q_num_heads", "kv_num_heads", "scale", "is_causal", "softcap", "qk_matmul_output_mode", "softmax_precision"),
}


@dataclass(frozen=True, eq=False)
class Case:
    """A stored test: attributes, inputs and outputs by name, in the formats of the test, and what may differ."""

    name: str
    opset: int
    attributes: dict[str, Any]
    inputs: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]
    rtol: float
    atol: float


def cases() -> dict[str, Case]:
    """Return all stored tests by name."""
    said = json.loads((HERE / "cases.json").read_text())["cases"]
    found = {}
    with np.load(HERE / "cases.npz", allow_pickle=False) as arrays:
        for name, case in said.items():
            kinds = [
                {
                    tensor["name"]: _restored(arrays[f"{name}/{kind}/{tensor['name']}"], tensor["format"])
                    for tensor in case[f"{kind}s"]
                }
                for kind in ("input", "output")
            ]
            found[name] = Case(name, case["opset"], case["attributes"], kinds[0], kinds[1], **case["tolerances"])
    return found


def _restored(array: NDArray[Any], format_: str) -> NDArray[Any]:
    restored = array.view(BITS[format_]) if format_ in BITS else array
    assert str(restored.dtype) == format_
    return restored


def split(array: NDArray[Any], heads: int | None) -> NDArray[Any]:
    """Return [batch, heads, tokens, size] of [batch, tokens, heads * size]; four dimensions as they are."""
    if array.ndim == 4:
        return array
    assert heads is not None, "three dimensions come with a number of heads"
    return array.reshape((*array.shape[:2], heads, -1)).transpose(0, 2, 1, 3)


def present(case: Case) -> dict[str, NDArray[Any]]:
    """Return keys and values with those of the past before them, under the names of the outputs."""
    found = {}
    for name, part in (("key", "K"), ("value", "V")):
        own = split(case.inputs[part], case.attributes.get("kv_num_heads"))
        past = case.inputs.get(f"past_{name}")
        found[f"present_{name}"] = own if past is None else np.concatenate([past, own], axis=2)
    return found


def problem_of(case: Case) -> Problem:
    """Return the problem that a test asks."""
    unknown = case.attributes.keys() - ATTRIBUTES
    assert not unknown, unknown
    whole = present(case)
    q, k = split(case.inputs["Q"], case.attributes.get("q_num_heads")), whole["present_key"]
    parts: dict[str, Any] = {"scale": case.attributes.get("scale"), "softcap": case.attributes.get("softcap")}
    if case.attributes.get("is_causal", 0):
        before = k.shape[2] - case.inputs["K"].shape[-2]
        parts |= {"causal": True, "positions": np.broadcast_to(before + np.arange(q.shape[2]), (len(q), q.shape[2]))}
    if "nonpad_kv_seqlen" in case.inputs:
        parts["lengths"] = case.inputs["nonpad_kv_seqlen"]
    if "attn_mask" in case.inputs:
        mask = case.inputs["attn_mask"]
        boolean = mask.dtype == np.bool_
        short = [(0, 0)] * (mask.ndim - 1) + [(0, k.shape[2] - mask.shape[-1])]
        parts["mask" if boolean else "bias"] = np.pad(mask, short, constant_values=False if boolean else -np.inf)
    return Problem(q, k, whole["present_value"], **parts, name=case.name)


def as_stored(case: Case, output: NDArray[Any]) -> NDArray[Any]:
    """Return an output [batch, heads, tokens, size] in the dimensions of the test's."""
    if case.inputs["Q"].ndim == 4:
        return output
    found = output.transpose(0, 2, 1, 3)
    return found.reshape((*found.shape[:2], -1))


def matmul_output(case: Case) -> NDArray[np.float64]:
    """Return what qk_matmul_output holds, [batch, heads, queries, keys].

    Mode 0: scale q.k.  1: capped.  2: with masks of any kind added.  3: the weights, which are the output for values
    that are unit vectors.  Logits are those of float64, some 1e-15 off; weights are exact ones, rounded.
    """
    problem, mode = problem_of(case), case.attributes.get("qk_matmul_output_mode", 0)
    shape = (*problem.q.shape[:-1], problem.keys)
    if mode == 3:
        units = np.broadcast_to(np.eye(problem.keys), (*problem.k.shape[:-1], problem.keys))
        return reference(problem.but(v=units), 20).value
    if mode == 2:
        rows = [np.where(head.attended(), head.logits(), -np.inf) for head in problem.each_head()]
        return np.array(rows).reshape(shape)
    alone = problem.but(bias=None, softcap=problem.softcap if mode == 1 else None)
    return np.array([head.logits() for head in alone.each_head()]).reshape(shape)
