"""ONNX's operator Attention: what it means as a problem, and how an implementation of it is called.

Read from its specification in onnx 1.22.0, opset 24: the document of the operator, and the function body that defines
it (onnx/defs/nn/defs.cc, onnx/defs/nn/utils.cc), which the document leaves the details to.

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
  every problem.
- qk_matmul_output: an output of what stands before the softmax, or of the weights; qk_matmul_output_mode says which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.check.foreign.posed import ForeignCase, How, Posed, lacking
from verify.check.interface import interface
from verify.errors import InvalidRequestError
from verify.isolated.isolation import Call
from verify.numbers.arithmetic import ARITHMETICS
from verify.numbers.formats import FORMATS, named_format
from verify.problem import Problem

# Inputs, in the order of the operator.
INPUTS = ("Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen")

# Attributes that change the output, and those that do not.
_MEANING = ("q_num_heads", "kv_num_heads", "scale", "is_causal", "softcap")
_OTHERS = ("qk_matmul_output_mode", "softmax_precision")

# Versions of the operator that are as above.
OPSETS = (23, 24)


@dataclass(frozen=True, eq=False)
class AttentionNode:
    """An operator with its inputs: attributes and inputs by name, in their formats."""

    name: str
    attributes: Mapping[str, Any]
    inputs: Mapping[str, NDArray[Any]]

    def __post_init__(self) -> None:
        """Refuse what is not understood."""
        for kind, own, known in (
            ("attribute", self.attributes, (*_MEANING, *_OTHERS)),
            ("input", self.inputs, INPUTS),
        ):
            strange = sorted(own.keys() - {*known})
            if strange:
                raise InvalidRequestError(
                    f"{self.name} with the {kind} {', '.join(strange)}", ", ".join(known), "take another case"
                )
        for part in "QKV":
            if part not in self.inputs or self.inputs[part].ndim not in (3, 4):
                raise InvalidRequestError(f"{self.name} without a {part} of 3 or 4 axes", "Q, K and V", "correct it")

    def split(self, part: str) -> NDArray[Any]:
        """Return Q, K or V as [batch, heads, tokens, size]."""
        array = self.inputs[part]
        if array.ndim == 4:
            return array
        name = "q_num_heads" if part == "Q" else "kv_num_heads"
        heads = self.attributes.get(name, 0)
        if heads < 1 or array.shape[2] % heads:
            raise InvalidRequestError(
                f"{self.name}: {part} of {list(array.shape)} and {heads} as {name}", "heads of one size", "correct it"
            )
        return array.reshape((*array.shape[:2], heads, -1)).transpose(0, 2, 1, 3)

    def present(self) -> dict[str, NDArray[Any]]:
        """Return keys and values with those of the past before them, under the names of the outputs."""
        found = {}
        for name, part in (("key", "K"), ("value", "V")):
            own, past = self.split(part), self.inputs.get(f"past_{name}")
            if past is not None and (past.ndim, past.shape[:2], past.shape[3:]) != (4, own.shape[:2], own.shape[3:]):
                raise InvalidRequestError(
                    f"{self.name}: past_{name} of {list(past.shape)} and {part} of {list(own.shape)}",
                    "[batch, heads, tokens, size] that agree but for tokens",
                    "correct it",
                )
            found[f"present_{name}"] = own if past is None else np.concatenate([past, own], axis=2)
        return found

    def problem(self) -> Problem:
        """Return the problem that the operator is asked."""
        whole, q = self.present(), self.split("Q")
        k = whole["present_key"]
        parts: dict[str, Any] = {name: self.attributes.get(name) for name in ("scale", "softcap")}
        if self.attributes.get("is_causal", 0):
            before = k.shape[2] - self.inputs["K"].shape[-2]
            parts["positions"] = np.broadcast_to(before + np.arange(q.shape[2]), (len(q), q.shape[2]))
            parts["causal"] = True
        if "nonpad_kv_seqlen" in self.inputs:
            parts["lengths"] = self.inputs["nonpad_kv_seqlen"]
        if "attn_mask" in self.inputs:
            mask = self.inputs["attn_mask"]
            if str(mask.dtype) not in ("bool", *FORMATS) or not mask.ndim:
                raise InvalidRequestError(
                    f"{self.name}: attn_mask of type {mask.dtype}", "booleans or floating-point numbers", "correct it"
                )
            boolean = mask.dtype == np.bool_
            if mask.shape[-1] > k.shape[2]:
                raise InvalidRequestError(
                    f"{self.name}: attn_mask of {list(mask.shape)}", f"{k.shape[2]} keys at most", "correct it"
                )
            short = [(0, 0)] * (mask.ndim - 1) + [(0, k.shape[2] - mask.shape[-1])]
            parts["mask" if boolean else "bias"] = np.pad(mask, short, constant_values=False if boolean else -np.inf)
        return Problem(q, k, whole["present_value"], **parts, name=self.name)

    @property
    def arithmetic(self) -> str:
        """The arithmetic of its format: sums in float32, or in float64."""
        formats = {str(self.inputs[part].dtype) for part in "QKV"}
        found = [name for name in (*formats, *(f"{one}+float32" for one in formats)) if name in ARITHMETICS]
        if len(formats) > 1 or not found:
            raise InvalidRequestError(
                f"{self.name} in {', '.join(sorted(formats))}", "one format of an arithmetic", "take another case"
            )
        return found[-1]

    def as_given(self, output: NDArray[Any]) -> NDArray[Any]:
        """Return an output [batch, heads, tokens, size] with the axes of Q."""
        if self.inputs["Q"].ndim == 4:
            return output
        found = output.transpose(0, 2, 1, 3)
        return found.reshape((*found.shape[:2], -1))

    def pose(self, how: How) -> Posed | str:
        """Return how the operator is put to a function: by its names, where it takes Q, or as attention is."""
        problem, format_ = self.problem(), named_format(str(self.inputs["Q"].dtype))
        if how.parameters is None or not any(name == "Q" for name, _, _ in how.parameters):
            return _as_attention(problem, format_.name, how)
        taken = {name for name, _, _ in how.parameters}
        keywords = {n: x for n, x in self.attributes.items() if n in _MEANING or n in taken}
        missing = lacking(how, [*self.inputs, *keywords])
        if missing:
            return missing
        return Posed(
            problem=problem,
            given=Call([], self.inputs, keywords),
            answer=self.as_given(np.empty(problem.output_shape, np.int8)).shape,
            taken=self._heads_first,
            place=self._place,
            reason=_REASON,
        )

    def _heads_first(self, output: NDArray[Any]) -> NDArray[Any]:
        if output.ndim == 4:
            return output
        return output.reshape((*output.shape[:2], self.attributes["q_num_heads"], -1)).transpose(0, 2, 1, 3)

    def _place(self, index: tuple[int, ...]) -> tuple[int, ...]:
        if self.inputs["Q"].ndim == 4:
            return index
        batch, head, token, element = index
        return batch, token, head * self.split("V").shape[-1] + element

    def case(self) -> ForeignCase:
        """Return it as a case."""
        return ForeignCase(self.name, self.arithmetic, self.pose)


_REASON = "the operator Attention"


def _as_attention(problem: Problem, format_: str, how: How) -> Posed | str:
    """Return how a problem is put to a function that is called as scaled_dot_product_attention."""
    own = interface(
        how.parameters, how.layout, causal=how.causal, grouped=how.grouped, scale=how.scale, takes=how.takes
    )
    missing = own.lacking(problem)
    if missing:
        return f"the function does not take {' and '.join(missing)}"
    own.require(problem, named_format(format_))
    return Posed(
        problem=problem,
        given=own.call(problem, named_format(format_)),
        answer=own.shape(problem),
        taken=own.heads_first,
        place=lambda index: index,
        reason=_REASON,
    )
