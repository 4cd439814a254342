"""Definitions and workloads in the schema of FlashInfer-Bench, small, and kernels that solve them in plain numpy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

HEADS, GROUPS, SIZE, CKV, KPE, PAGES = 4, 2, 16, 24, 8, 12

LOG2 = float(np.log(2.0))


def tensor(*shape: str, dtype: str = "float32") -> dict[str, Any]:
    return {"shape": list(shape), "dtype": dtype}


def definition(kind: str, stage: str, page: int = 1, dtype: str = "float32") -> dict[str, Any]:
    rows = "batch_size" if stage == "decode" else "total_q"
    mla, ragged = kind == "mla_paged", kind == "gqa_ragged"
    sizes = {"num_qo_heads": HEADS}
    sizes |= {"head_dim_ckv": CKV, "head_dim_kpe": KPE} if mla else {"num_kv_heads": GROUPS, "head_dim": SIZE}
    sizes |= {} if ragged else {"page_size": page}
    variable = [rows, "len_indptr", *(["total_kv"] if ragged else ["num_pages", "num_kv_indices"])]
    variable += ["batch_size"] if page > 1 and rows != "batch_size" else []
    cache = ("num_pages", "page_size")
    if mla:
        inputs = {
            "q_nope": tensor(rows, "num_qo_heads", "head_dim_ckv", dtype=dtype),
            "q_pe": tensor(rows, "num_qo_heads", "head_dim_kpe", dtype=dtype),
            "ckv_cache": tensor(*cache, "head_dim_ckv", dtype=dtype),
            "kpe_cache": tensor(*cache, "head_dim_kpe", dtype=dtype),
        }
    else:
        names, lead = (("k", "v"), ("total_kv",)) if ragged else (("k_cache", "v_cache"), cache)
        inputs = {"q": tensor(rows, "num_qo_heads", "head_dim", dtype=dtype)}
        inputs |= {name: tensor(*lead, "num_kv_heads", "head_dim", dtype=dtype) for name in names}
    inputs |= {"qo_indptr": tensor("len_indptr", dtype="int32")} if stage != "decode" else {}
    inputs |= {"kv_indptr": tensor("len_indptr", dtype="int32")}
    inputs |= {} if ragged else {"kv_indices": tensor("num_kv_indices", dtype="int32")}
    inputs |= {"kv_last_page_len": tensor("batch_size", dtype="int32")} if page > 1 else {}
    inputs["sm_scale"] = {"shape": None, "dtype": "float32", "description": "Softmax scale."}
    constraints = {"decode": ["len_indptr == batch_size + 1"]}.get(stage, ["total_q == qo_indptr[-1].item()"])
    said = f"h{HEADS}_" + (f"ckv{CKV}_kpe{KPE}" if mla else f"kv{GROUPS}_d{SIZE}") + ("" if ragged else f"_ps{page}")
    lse = {**tensor(rows, "num_qo_heads"), "description": "The 2-based log-sum-exp of attention logits."}
    return {
        "name": f"{kind}_{stage}_{said}",
        "op_type": kind,
        "tags": ["stage:test"],
        "axes": {
            **{name: {"type": "const", "value": value} for name, value in sizes.items()},
            **{name: {"type": "var"} for name in variable},
        },
        "constraints": constraints,
        "inputs": inputs,
        "outputs": {
            "output": tensor(rows, "num_qo_heads", "head_dim_ckv" if mla else "head_dim", dtype=dtype),
            "lse": lse,
        },
        "reference": "raise SystemExit('never run')",
    }


def indices(kind: str, stage: str, page: int) -> dict[str, NDArray[Any]]:
    """Return where three sequences are: 5 and 2 pages, or 9 and 4 tokens, and one of none between them."""
    found: dict[str, Any] = {"kv_indptr": [0, 5, 5, 12] if kind != "gqa_ragged" else [0, 9, 9, 13]}
    if kind != "gqa_ragged":
        order = np.random.default_rng(4).permutation(PAGES)
        order[7] = order[1]  # a page that two sequences share
        found["kv_indices"] = order
    if page > 1:
        found["kv_last_page_len"] = [3, 0, page]
    if stage != "decode":
        found["qo_indptr"] = [0, 3, 4, 7]
    return {name: np.array(values, np.int32) for name, values in found.items()}


def written(folder: Path, own: dict[str, Any], change: Callable[[dict[str, Any]], None] | None = None) -> str:
    """Write a definition and a workload of it into a folder, and return their path; change: what is done to both."""
    kind = own["op_type"]
    page = own["axes"].get("page_size", {"value": 1})["value"]
    stage = "decode" if "decode" in own["name"] else "prefill"
    arrays = indices(kind, stage, page)
    sizes = {"len_indptr": 4, "total_kv": 13, "num_pages": PAGES, "num_kv_indices": 12, "total_q": 7, "batch_size": 3}
    inputs: dict[str, Any] = {}
    for name, spec in own["inputs"].items():
        inputs[name] = {"type": "random"}
        if name in arrays:
            inputs[name] = {"type": "safetensors", "path": "places.safetensors", "tensor_key": name}
        elif spec["shape"] is None:
            inputs[name] = {"type": "scalar", "value": 0.3}
    axes = {name: sizes[name] for name, axis in own["axes"].items() if axis["type"] == "var"}
    workload = {"uuid": "0b6c", "axes": axes, "inputs": inputs}
    parts = {"definition": own, "workload": workload, "arrays": arrays}
    if change is not None:
        change(parts)
    (folder / "own.json").write_text(json.dumps(parts["definition"]))
    line = {"definition": own["name"], "workload": parts["workload"], "solution": None, "evaluation": None}
    (folder / "own.jsonl").write_text(json.dumps(line | parts.get("line", {})) + "\n")
    save_file(parts["arrays"], folder / "places.safetensors")
    return f"{folder}/own.json,{folder}/own.jsonl"


def solved(given: dict[str, Any], *, wrong: str = "") -> tuple[NDArray[Any], NDArray[Any]]:
    """Return output and lse, sequence by sequence, row by row, head by head; wrong: what is got wrong."""
    queries = given["q"] if "q" in given else np.concatenate([given["q_nope"], given["q_pe"]], axis=-1)
    page = 1
    if "ckv_cache" in given:
        page = given["ckv_cache"].shape[1]
        keys = np.concatenate([given["ckv_cache"], given["kpe_cache"]], axis=-1)[:, :, None]
        values = given["ckv_cache"][:, :, None]
    elif "k_cache" in given:
        page = given["k_cache"].shape[1]
        keys, values = given["k_cache"], given["v_cache"]
    else:
        keys, values = given["k"][:, None], given["v"][:, None]
    kind = queries.dtype
    starts = given.get("qo_indptr", np.arange(len(queries) + 1))
    output = np.zeros((*queries.shape[:2], values.shape[-1]), np.float64)
    lse = np.full(queries.shape[:2], -np.inf, np.float32)
    for one in range(len(given["kv_indptr"]) - 1):
        first, end = given["kv_indptr"][one : one + 2]
        places = given["kv_indices"][first:end] if "kv_indices" in given else np.arange(first, end)
        if wrong == "order":
            places = places[::-1]
        tokens = [(int(number), slot) for number in places for slot in range(page)]
        if "kv_last_page_len" in given and tokens and wrong != "full page":
            tokens = tokens[: len(tokens) - page + int(given["kv_last_page_len"][one])]
        for row in range(starts[one], starts[one + 1]):
            seen = tokens
            if "qo_indptr" in given:
                stands = (
                    row - starts[one] + (0 if wrong == "top left" else len(tokens) - (starts[one + 1] - starts[one]))
                )
                seen = tokens[: max(0, stands + 1)]
            if not seen:
                continue
            for head in range(queries.shape[1]):
                group = head * keys.shape[2] // queries.shape[1] if wrong != "heads" else head % keys.shape[2]
                k = np.array([keys[number, slot, group] for number, slot in seen]).astype(np.float32)
                v = np.array([values[number, slot, group] for number, slot in seen]).astype(np.float32)
                logits = np.float32(given["sm_scale"]) * (k @ queries[row, head].astype(np.float32))
                weights = np.exp(logits - logits.max())
                output[row, head] = weights @ v / weights.sum()
                lse[row, head] = (logits.max() + np.log(weights.sum())) / (1.0 if wrong == "natural" else LOG2)
    return output.astype(kind), lse
