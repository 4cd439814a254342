"""Input files changed at random: an answer that a plain reader confirms, or one line; never the answer to another."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from mpmath import mp
from safetensors import safe_open
from safetensors.numpy import save_file

from tests.cli.running import run

FILES = 1000

# What the plain reader knows of names, written down again for it.
NAMES = {
    "q": "q",
    "query": "q",
    "k": "k",
    "key": "k",
    "v": "v",
    "value": "v",
    "mask": "mask",
    "attn_mask": "mask",
    "attention_mask": "mask",
    "bias": "bias",
    "attn_bias": "bias",
    "attention_bias": "bias",
    "scale": "scale",
    "softmax_scale": "scale",
    "sm_scale": "scale",
    "causal": "causal",
    "is_causal": "causal",
    "alignment": "alignment",
    "softcap": "softcap",
    "soft_cap": "softcap",
    "window": "window",
    "window_size": "window",
    "sinks": "sinks",
    "s_aux": "sinks",
    "alibi_slopes": "slopes",
    "slopes": "slopes",
    "lengths": "lengths",
    "cache_seqlens": "lengths",
    "segments": "segments",
    "segment_ids": "segments",
    "positions": "positions",
    "cache_position": "positions",
    "k_descale": "k_descale",
    "v_descale": "v_descale",
    "q_descale": "q_descale",
}


def base(rng: np.random.Generator) -> dict[str, Any]:
    """A small file that is right."""
    lead = [(), (2,), (2, 2)][int(rng.integers(0, 3))]
    queries, keys = [(3, 3), (2, 4)][int(rng.integers(0, 2))]

    def some(*shape: int) -> Any:
        return rng.standard_normal(shape).astype([np.float32, np.float64, np.float16][int(rng.integers(0, 3))])

    held = {"q": some(*lead, queries, 2), "k": some(*lead, keys, 2), "v": some(*lead, keys, 1)}
    parts: dict[str, Callable[[], Any]] = {
        "attn_mask": lambda: rng.random((*lead, queries, keys)) < 0.7,
        "bias": lambda: np.where(rng.random((queries, keys)) < 0.2, -np.inf, some(queries, keys)),
        "softmax_scale": lambda: np.array(0.5),
        "is_causal": lambda: np.array(True),
        "softcap": lambda: np.array(2.5),
        "window_size": lambda: np.array([1, -1]),
        "sinks": lambda: some(*lead),
        "alibi_slopes": lambda: some(*lead),
        "lengths": lambda: rng.integers(0, keys + 1, lead[:-1]),
        "segments": lambda: rng.integers(0, 2, keys),
        "v_descale": lambda: np.full(lead, 0.5),
    }
    for name in rng.permutation(list(parts))[: int(rng.integers(0, 4))]:
        held[str(name)] = np.asarray(parts[str(name)]())
    if queries != keys:
        held["alignment"] = np.array("bottom-right")
    return held


def mutated(rng: np.random.Generator, held: dict[str, Any]) -> dict[str, Any]:
    """The file with one entry renamed, retyped, reshaped, cut, left out, added or with a number that is none."""
    name = str(rng.choice(list(held)))
    array = held[name]
    rest = {other: value for other, value in held.items() if other != name}
    kinds = ["?", "i1", "u1", "u2", "i4", "i8", "f2", ">f4", "f8", "g", "c8", "U5", "O", ml_dtypes.bfloat16]
    match int(rng.integers(0, 9)):
        case 0:
            return {**rest, str(rng.choice([name.upper(), name + "2", *NAMES, "key_padding_mask", "dropout_p"])): array}
        case 1 | 2:
            if array.dtype.kind != "U":
                with np.errstate(all="ignore"):
                    array = array.astype(kinds[int(rng.integers(0, len(kinds)))])
            return {**rest, name: array}
        case 3:
            turned = [
                array.T,
                array[None],
                array.ravel(),
                array[..., None],
                array.swapaxes(0, -1) if array.ndim else array,
            ]
            return {**rest, name: turned[int(rng.integers(0, len(turned)))]}
        case 4:
            return {**rest, name: array[int(rng.integers(0, 3)) :] if array.ndim else array.reshape(1)}
        case 5:
            return rest
        case 6:
            return {**held, str(rng.choice([*NAMES, "note", "cu_seqlens", "layout"])): array}
        case _:
            places = [other for other, value in held.items() if value.dtype.kind == "f" and value.size]
            chosen = str(rng.choice(places))
            changed = held[chosen].copy()
            wrong = float(rng.choice([np.nan, np.inf, -np.inf, 1e30, 0.0, 1.0]))
            place = np.unravel_index(int(rng.integers(0, changed.size)), changed.shape)
            with np.errstate(over="ignore"):
                changed[place] = wrong
            return {**held, chosen: changed}


def write(rng: np.random.Generator, path: Path, held: dict[str, Any]) -> None:
    """Write a file, one in six of them with damaged or missing bytes."""
    with np.errstate(all="ignore"):
        if path.suffix == ".npz":
            np.savez(path, **held)
        else:
            texts = {name: str(value) for name, value in held.items() if value.dtype.kind == "U"}
            arrays = {name: np.ascontiguousarray(value) for name, value in held.items() if name not in texts}
            save_file(arrays, path, metadata=texts)
    if rng.random() < 1 / 6:
        whole = bytearray(path.read_bytes())
        if rng.random() < 0.5:
            del whole[int(rng.integers(0, len(whole))) :]
        else:
            whole[int(rng.integers(0, len(whole)))] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(whole)


def plainly_read(path: Path) -> dict[str, Any]:
    """What a file holds, by meaning; KeyError for a name without one, AssertionError for a meaning that comes twice."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            held = {name: archive[name] for name in archive.files}
    else:
        with safe_open(path, "np") as tensors:
            held = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118 - it is no mapping
            held |= {name: np.array(text) for name, text in (tensors.metadata() or {}).items()}
    found = {NAMES[name]: value for name, value in held.items()}
    assert len(found) == len(held)
    if "mask" in found and found["mask"].dtype != bool:
        assert "bias" not in found
        found["bias"] = found.pop("mask")
    return found


def plainly(held: dict[str, Any]) -> Any:
    """The outputs, by loops over plain numbers."""
    q, k, v = (np.asarray(held[name], dtype=np.float64) for name in "qkv")
    lead, (queries, keys) = q.shape[:-2], (q.shape[-2], k.shape[-2])
    pairs = (*lead, queries, keys)

    def spread(name: str, shape: tuple[int, ...], absent: Any) -> Any:
        array = np.asarray(held.get(name, absent))
        while array.ndim > len(shape) and array.shape[0] == 1:
            array = array[0]
        return np.broadcast_to(array, shape)

    mask, bias, sinks = spread("mask", pairs, True), spread("bias", pairs, 0.0), spread("sinks", lead, -np.inf)
    slopes, lengths = spread("slopes", lead, 0.0), spread("lengths", lead[:-1], keys)
    of_q = spread("segments", (*lead[:-1], queries), 0)
    of_k = spread("segments", (*lead[:-1], keys), 0)
    factors = {name: spread(f"{name}_descale", (lead if name == "q" else k.shape[:-2]), 1.0) for name in "qkv"}
    before, after = (int(end) for end in held.get("window", [-1, -1]))
    after = 0 if bool(held.get("causal", False)) else after
    cap = exact(held.get("softcap", 0.0))
    scale = exact(held["scale"]) if "scale" in held else 1 / mp.sqrt(q.shape[-1])
    output = np.full((*lead, queries, v.shape[-1]), mp.mpf(0), dtype=object)
    for place in np.ndindex(*lead, queries):
        head, i = place[:-1], place[-1]
        batch = head[:-1]
        there = int(lengths[batch])
        own = [t for t in range(keys) if of_k[batch][t] == of_q[batch][i]]
        existing = [t for t in own if t < there]
        asking = [j for j in range(queries) if of_q[batch][j] == of_q[batch][i]]
        at = asking.index(i)
        if str(np.asarray(held.get("alignment", "")).item()) == "bottom-right" and existing:
            at += len(existing) - len(asking)
        if "positions" in held:
            at = int(spread("positions", (*batch_shape(lead), queries), 0)[batch][i])
        weights, total = {}, mp.exp(exact(sinks[head])) if np.isfinite(sinks[head]) else mp.mpf(0)
        for t in existing:
            where = own.index(t)
            hidden = not mask[place][t] or bias[place][t] == -np.inf
            if hidden or (after >= 0 and where > at + after) or (before >= 0 and where < at - before):
                continue
            s = sum(exact(a) * exact(b) for a, b in zip(q[place], k[shared(head, q, k)][t], strict=True))
            s *= scale * exact(factors["q"][head]) * exact(factors["k"][shared(head, q, k)])
            s = cap * mp.tanh(s / cap) if cap else s
            s += exact(bias[place][t]) - exact(slopes[head]) * abs(at - where)
            weights[t] = mp.exp(s)
            total += weights[t]
        for e in range(v.shape[-1]):
            values = ((w, v[shared(head, q, k)][t, e]) for t, w in weights.items())
            if weights:
                output[(*place, e)] = mp.fsum(w * exact(x) for w, x in values) / total
                output[(*place, e)] *= exact(factors["v"][shared(head, q, k)])
    return output


def exact(value: Any) -> Any:
    number = float(np.asarray(value).item())
    assert np.isfinite(number)
    return mp.mpf(number)


def batch_shape(lead: tuple[int, ...]) -> tuple[int, ...]:
    return lead[:-1]


def shared(head: tuple[int, ...], q: Any, k: Any) -> tuple[int, ...]:
    """The key head that a query head reads."""
    return (*head[:-1], head[-1] // (q.shape[-3] // k.shape[-3])) if head else ()


@pytest.mark.parametrize("part", range(4))
def test_mutated_files_are_answered_rightly_or_refused_in_one_line(
    part: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended: Counter[int] = Counter()
    for number in range(part, FILES, 4):
        rng = np.random.default_rng([89, number])
        path = tmp_path / ("a.npz" if number % 3 else "a.safetensors")
        held = base(rng)
        changed = mutated(rng, held) if rng.random() < 0.95 else held
        try:
            write(rng, path, changed)
        except Exception:  # safetensors has no name for the type
            path = path.with_suffix(".npz")
            write(rng, path, changed)
        code, printed, said = run(capsys, "reference", path, "--digits", "12", "--jobs", "0", "--out", "out.npz")
        ended[code] += 1
        if code == 0:
            confirm(path, number)
            Path("out.npz").unlink()
        else:
            assert (code, printed, said.count("\n")) == (2, "", 1), (number, said)
            assert re.match(r"attnproof: .*; expected .*; ", said), (number, said)
        assert not Path("out.npz").exists()
        path.unlink()
    assert ended[0] >= 50
    assert ended[2] >= 50


def confirm(path: Path, number: int) -> None:
    """Compare the certified answer with the plain reader's."""
    with mp.workdps(120):
        right = plainly(plainly_read(path))
        with np.load("out.npz", allow_pickle=False) as vectors:
            texts, radii = vectors["decimal"], vectors["radius"]
        assert texts.shape == right.shape, number
        for place in np.ndindex(*right.shape):
            off = abs(mp.mpf(str(texts[place])) - right[place])
            assert off <= mp.mpf(float(radii[place])) + abs(right[place]) * mp.mpf(10) ** -70, (number, place)
