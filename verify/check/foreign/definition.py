"""Definitions of FlashInfer-Bench: which attention one asks for, as far as that is understood exactly.

The schema: docs/flashinfer-trace/definition.mdx of flashinfer-ai/flashinfer-bench.  What each kind of attention means:
docs/op-types and flashinfer_trace/definitions there.  The code in `reference` is never run.

- decode: one query for each sequence, which sees all its keys.  prefill_causal: those from qo_indptr[b] on are of
  sequence b, the last of them stands at its last key, and none sees a key after it.
- paged: the tokens of a sequence are those of its pages, from kv_indices[kv_indptr[b]] on, in this order; of the last
  page only the first kv_last_page_len[b] count, which must be given where pages hold more than one.  ragged: tokens
  from kv_indptr[b] on are of sequence b.
- gqa: query heads g H/G .. (g + 1) H/G - 1 read key head g.  mla: one key head for all; q = [q_nope, q_pe],
  k = [ckv, kpe], v = ckv.
- logits are sm_scale q.k; lse is the logarithm to base 2 of the sum of their exponentials.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verify.check.foreign.json_files import document, members, refused, size, text

# By part of a shape, the names that its axis may have.
_AXES = {
    "rows": ("total_q", "batch_size"),
    "sequences": ("batch_size", "total_q"),
    "heads": ("num_qo_heads", "num_q_heads"),
    "groups": ("num_kv_heads",),
    "size": ("head_dim",),
    "ckv": ("head_dim_ckv",),
    "kpe": ("head_dim_kpe",),
    "pages": ("num_pages",),
    "page": ("page_size",),
    "offsets": ("len_indptr",),
    "indices": ("num_kv_indices",),
    "keys": ("total_kv",),
}

_PAGED = {"kv_indptr": ("offsets",), "kv_indices": ("indices",)}

# By the kind of attention, the shapes of what holds its queries, keys and values, and of what says where they are.
_INPUTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "gqa_paged": {
        "q": ("rows", "heads", "size"),
        "k_cache": ("pages", "page", "groups", "size"),
        "v_cache": ("pages", "page", "groups", "size"),
        **_PAGED,
    },
    "gqa_ragged": {
        "q": ("rows", "heads", "size"),
        "k": ("keys", "groups", "size"),
        "v": ("keys", "groups", "size"),
        "kv_indptr": ("offsets",),
    },
    "mla_paged": {
        "q_nope": ("rows", "heads", "ckv"),
        "q_pe": ("rows", "heads", "kpe"),
        "ckv_cache": ("pages", "page", "ckv"),
        "kpe_cache": ("pages", "page", "kpe"),
        **_PAGED,
    },
}

_VALUES = {"gqa_paged": "size", "gqa_ragged": "size", "mla_paged": "ckv"}

INTEGERS = ("int32", "int64")

# By the formats of inputs and of the output, the arithmetic that careful computations have.
_ARITHMETICS = {
    ("float32", "float32"): "float32",
    ("float16", "float16"): "float16+float32",
    ("bfloat16", "bfloat16"): "bfloat16+float32",
}

# By the part of a name, which part of a shape it says: gqa_paged_decode_h32_kv8_d128_ps1.
_SAID = {"h": "heads", "kv": "groups", "d": "size", "ckv": "ckv", "kpe": "kpe", "ps": "page"}

_NAME = re.compile(r"(?P<kind>gqa_paged|gqa_ragged|mla_paged)_(?P<stage>decode|prefill_causal)(?P<sizes>(_[a-z]+\d+)*)")

# What relates axes and is looked at in every workload.
_CONSTRAINTS = {
    *("len_indptr==batch_size+1", "total_q==qo_indptr[-1]", "num_kv_indices==kv_indptr[-1]"),
    "total_kv==kv_indptr[-1]",
}


@dataclass(frozen=True)
class Tensor:
    """An input or output: its axes, None for a scalar, its format, and the part of a shape that each axis is."""

    axes: tuple[str, ...] | None
    dtype: str
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Definition:
    """What a definition asks for.

    kind: gqa_paged, gqa_ragged or mla_paged.  causal: a prefill; otherwise one query for each sequence.  axes: constant
    ones with their size, others with None.  arithmetic: that of its formats.  log_sums: "2" where logarithms of sums
    are asked for to that base; otherwise why they are not judged, empty if they are not asked for.
    """

    name: str
    kind: str
    causal: bool
    axes: Mapping[str, int | None]
    inputs: Mapping[str, Tensor]
    arithmetic: str
    log_sums: str


def definition(path: str) -> Definition:
    """Return what a file defines; InvalidRequestError for what is not understood exactly."""
    found = members(
        path,
        document(path),
        ("name", "op_type", "axes", "inputs", "outputs"),
        ("reference", "tags", "description", "constraints"),
    )
    name = text(f"name in {path}", found["name"])
    said = _NAME.fullmatch(name)
    if said is None or found["op_type"] != said["kind"]:
        raise refused(
            path,
            f"{name!r} of type {found['op_type']!r}",
            f"{', '.join(_INPUTS)}, then _decode or _prefill_causal and sizes, as gqa_paged_decode_h32_kv8_d128_ps1",
            "name it so, if it is that",
        )
    kind, causal = said["kind"], said["stage"] != "decode"
    if kind == "gqa_ragged" and not causal:
        raise refused(path, f"{name!r}", "gqa_ragged_prefill_causal", "name it so, if it is that")
    axes = _axes(path, found["axes"])
    inputs = _inputs(path, kind, causal, found["inputs"], axes)
    outputs, log_sums = _outputs(path, kind, found["outputs"], axes)
    _require_known_axes(path, axes, [*inputs.values(), *outputs.values()])
    _require_sizes(path, said["sizes"], axes, inputs)
    _require_constraints(path, found.get("constraints"))
    return Definition(name, kind, causal, axes, inputs, _arithmetic(path, inputs, outputs), log_sums)


def _axes(path: str, found: Any) -> dict[str, int | None]:
    if not isinstance(found, dict):
        raise refused(path, "axes that are no object", "an object of axes")
    axes: dict[str, int | None] = {}
    for name, axis in found.items():
        where = f"axis {name} in {path}"
        own = members(where, axis, ("type",), ("value", "description"))
        if own["type"] not in ("const", "var") or (own["type"] == "const") != ("value" in own):
            raise refused(where, f"{own!r:.60}", "const with a value, or var")
        axes[name] = size(where, own["value"]) if "value" in own else None
    return axes


def _inputs(path: str, kind: str, causal: bool, found: Any, axes: Mapping[str, int | None]) -> dict[str, Tensor]:
    needed: dict[str, tuple[str, ...]] = {**_INPUTS[kind], **({"qo_indptr": ("offsets",)} if causal else {})}
    where = f"inputs of {path}"
    optional = ("kv_last_page_len",) if "kv_indices" in needed else ()
    own = members(where, found, (*needed, "sm_scale"), optional)
    shapes = {**needed, "kv_last_page_len": ("sequences",)}
    inputs = {name: _tensor(f"{name} in {path}", spec, shapes.get(name), axes) for name, spec in own.items()}
    for name, tensor in inputs.items():
        whole = name in ("qo_indptr", "kv_indptr", "kv_indices", "kv_last_page_len")
        if whole and tensor.dtype not in INTEGERS:
            raise refused(f"{name} in {path}", tensor.dtype, " or ".join(INTEGERS))
    if inputs["sm_scale"].dtype != "float32":
        raise refused(f"sm_scale in {path}", inputs["sm_scale"].dtype, "float32")
    if optional and "kv_last_page_len" not in own:
        page = axes[dict(zip(_INPUTS[kind][_cache(kind)], inputs[_cache(kind)].axes or (), strict=True))["page"]]
        if page != 1:
            raise refused(where, f"pages of {page} tokens without kv_last_page_len", "how many the last page holds")
    return inputs


def _cache(kind: str) -> str:
    return next(name for name, parts in _INPUTS[kind].items() if "page" in parts)


def _outputs(path: str, kind: str, found: Any, axes: Mapping[str, int | None]) -> tuple[dict[str, Tensor], str]:
    own = members(f"outputs of {path}", found, ("output",), ("lse",))
    if next(iter(own)) != "output":
        raise refused(f"outputs of {path}", "lse first", "output first: what a function returns is in this order")
    shapes = {"output": ("rows", "heads", _VALUES[kind]), "lse": ("rows", "heads")}
    outputs = {name: _tensor(f"{name} in {path}", spec, shapes[name], axes) for name, spec in own.items()}
    if "lse" not in own:
        return outputs, ""
    if outputs["lse"].dtype != "float32":
        return outputs, f"lse is not judged: its format is {outputs['lse'].dtype}, not float32"
    if not re.search(r"\b2-based\b|\bbase[- ]2\b", str(own["lse"].get("description"))):
        return outputs, "lse is not judged: its description does not say that it is 2-based"
    return outputs, "2"


def _tensor(where: str, found: Any, parts: tuple[str, ...] | None, axes: Mapping[str, int | None]) -> Tensor:
    own = members(where, found, ("shape", "dtype"), ("description",))
    shape, dtype = own["shape"], text(f"dtype of {where}", own["dtype"])
    if parts is None:
        if shape is not None:
            raise refused(where, f"shape {shape!r:.60}", "null, a scalar")
        return Tensor(None, dtype)
    if not isinstance(shape, list) or not all(isinstance(axis, str) for axis in shape) or len(shape) != len(parts):
        raise refused(where, f"shape {shape!r:.60}", f"{len(parts)} axes, [{', '.join(_AXES[p][0] for p in parts)}]")
    for axis, part in zip(shape, parts, strict=True):
        if axis not in axes:
            raise refused(where, f"axis {axis!r}, which axes lack", "one of axes")
        if axis not in _AXES[part]:
            raise refused(where, f"axis {axis!r}", " or ".join(_AXES[part]))
    return Tensor(tuple(shape), dtype, parts)


def _require_known_axes(path: str, axes: Mapping[str, int | None], tensors: list[Tensor]) -> None:
    used = {axis for tensor in tensors for axis in tensor.axes or ()}
    strange = [axis for axis in axes if axis not in used and axis != "batch_size"]
    if strange:
        raise refused(
            path, f"axes {', '.join(strange)} of no input", "axes of inputs", "leave out what changes nothing"
        )


def _require_sizes(path: str, said: str, axes: Mapping[str, int | None], inputs: Mapping[str, Tensor]) -> None:
    by_part = {p: axes[a] for t in inputs.values() for a, p in zip(t.axes or (), t.parts, strict=True)}
    for part in said.split("_")[1:]:
        word, number = re.fullmatch(r"([a-z]+)(\d+)", part).groups()  # type: ignore[union-attr]
        if word not in _SAID or _SAID[word] not in by_part:
            raise refused(path, f"{part} in its name, which is not understood", ", ".join(_SAID), "name it otherwise")
        if by_part[_SAID[word]] != int(number):
            raise refused(path, f"{part} in its name with {by_part[_SAID[word]]} in axes", "the same size twice")


def _require_constraints(path: str, found: Any) -> None:
    if found is None:
        return
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise refused(path, f"constraints {found!r:.60}", "a list of texts")
    for one in found:
        if one.replace(" ", "").replace(".item()", "") not in _CONSTRAINTS:
            raise refused(path, f"constraint {one[:60]!r}, which is not understood", ", ".join(sorted(_CONSTRAINTS)))


def _arithmetic(path: str, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> str:
    formats = {tensor.dtype for tensor in inputs.values() if tensor.axes and tensor.dtype not in INTEGERS}
    found = (", ".join(sorted(formats)), outputs["output"].dtype)
    if found not in _ARITHMETICS:
        known = ", ".join(sorted(own for own, _ in _ARITHMETICS))
        raise refused(path, f"inputs in {found[0]} with output in {found[1]}", f"one format for all: {known}")
    return _ARITHMETICS[found]
