"""Problems as people hold them, drawn at random, and their answers by plain loops that know nothing of the project."""

from __future__ import annotations

from typing import Any

import numpy as np
from mpmath import mp

# Bits of every number below: logits of 40 take 60 bits, a lowest float32 130.
BITS = 600


def drawn(seed: int, most: int = 6) -> dict[str, Any]:
    """Return the arguments of a problem that combines what problems have, seeded."""
    rng = np.random.default_rng((1301, seed))
    batch = int(rng.integers(1, 3))
    groups, members = int(rng.integers(1, 3)), int(rng.integers(1, 3))
    heads = groups * members
    n_q, n_k, d, d_v = (int(x) for x in rng.integers(1, (most, most + 1, 4, 3)))
    if rng.random() < 0.3:
        n_q = n_k

    def has(share: float) -> bool:
        return bool(rng.random() < share)

    size = 10.0 ** rng.uniform(-1, 0.7)
    given: dict[str, Any] = {
        "q": rng.standard_normal((batch, heads, n_q, d)) * size,
        "k": rng.standard_normal((batch, groups, n_k, d)),
        "v": rng.standard_normal((batch, groups, n_k, d_v)) * 10.0 ** rng.uniform(-2, 2),
    }
    if has(0.4):
        given["scale"] = float(rng.choice([1.0, 0.3, -0.5, 0.0]))
    if has(0.4):
        given["causal"] = True
    if has(0.3):
        given["window"] = tuple(int(x) for x in rng.integers(-1, 4, 2))
    if has(0.3):
        given["lengths"] = rng.integers(0, n_k + 1, batch)
    if has(0.25):
        given["segments"] = rng.integers(0, 3, (batch, n_q)), rng.integers(0, 3, (batch, n_k))
    if has(0.3):
        given["alibi_slopes"] = 2.0 ** -rng.uniform(0, 5, heads)
    if has(0.15):
        given["positions"] = rng.integers(-2, n_k + 3, (batch, n_q))
    else:
        given["alignment"] = str(rng.choice(["top-left", "bottom-right"]))
    if has(0.3):
        shape = [(n_q, n_k), (heads, n_q, n_k), (batch, 1, 1, n_k), (batch, heads, n_q, n_k)][int(rng.integers(4))]
        given["mask"] = rng.random(shape) < 0.7
    if has(0.3):
        given["bias"] = rng.standard_normal((heads, 1, n_k) if has(0.5) else (batch, 1, n_q, n_k))
        if has(0.3):
            given["bias"][rng.random(given["bias"].shape) < 0.3] = -np.inf
        if has(0.2):
            given["bias"][rng.random(given["bias"].shape) < 0.3] = float(np.finfo(np.float32).min)
    if has(0.3):
        given["softcap"] = float(10.0 ** rng.uniform(-1, 1.5))
    if has(0.3):
        given["sinks"] = rng.standard_normal(heads) * 3
    if has(0.2):
        given["dropout_mask"], given["dropout"] = rng.random((heads, n_q, n_k)) < 0.7, 0.25
    return given


def standing(given: dict[str, Any], b: int) -> tuple[list[int], list[int]]:
    """Return where queries and keys of one of the batch stand, counted one by one."""
    n_q, n_k = given["q"].shape[2], given["k"].shape[2]
    there = int(given["lengths"][b]) if "lengths" in given else n_k
    of_q, of_k = (x[b].tolist() for x in given["segments"]) if "segments" in given else ([0] * n_q, [0] * n_k)
    keys = [of_k[:j].count(of_k[j]) for j in range(n_k)]
    queries = []
    for i in range(n_q):
        before, asking, existing = of_q[:i].count(of_q[i]), of_q.count(of_q[i]), of_k[:there].count(of_q[i])
        moved = (
            existing - asking
            if given.get("alignment") == "bottom-right" and (existing or "segments" not in given)
            else 0
        )
        queries.append(before + moved)
    return ([int(x) for x in given["positions"][b]] if "positions" in given else queries), keys


def seen_by(given: dict[str, Any], b: int, h: int, i: int) -> list[int]:
    """Return the keys that a query sees, by asking each rule about each key."""
    n_k = given["k"].shape[2]
    queries, keys = standing(given, b)
    left, right = given.get("window", (-1, -1))
    shape = (*given["q"].shape[:3], n_k)
    mask = np.broadcast_to(given.get("mask", True), shape)[b, h, i]
    bias = np.broadcast_to(given.get("bias", 0.0), shape)[b, h, i]
    found = []
    for j in range(n_k):
        apart = keys[j] - queries[i]
        hidden = [
            "lengths" in given and j >= given["lengths"][b],
            "segments" in given and given["segments"][0][b][i] != given["segments"][1][b][j],
            bool(given.get("causal")) and apart > 0,
            right != -1 and apart > right,
            left != -1 and -apart > left,
            not mask[j],
            bias[j] == -np.inf,
        ]
        if not any(hidden):
            found.append(j)
    return found


def logits_of(given: dict[str, Any], b: int, h: int, i: int, seen: list[int]) -> list[Any]:
    """Return the logits of what a query sees, at the precision there is."""
    q, k = given["q"], given["k"]
    group = h // (q.shape[1] // k.shape[1])
    scale = 1 / mp.sqrt(q.shape[3]) if given.get("scale") is None else mp.mpf(given["scale"])
    queries, keys = standing(given, b)
    bias = np.broadcast_to(given.get("bias", 0.0), (*q.shape[:3], k.shape[2]))
    found = []
    for j in seen:
        s = scale * sum(
            (mp.mpf(x) * mp.mpf(y) for x, y in zip(q[b, h, i].tolist(), k[b, group, j].tolist(), strict=True)), mp.zero
        )
        if "softcap" in given:
            s = given["softcap"] * mp.tanh(s / given["softcap"])
        s += mp.mpf(float(bias[b, h, i, j]))
        if "alibi_slopes" in given:
            s -= mp.mpf(float(given["alibi_slopes"][h])) * abs(queries[i] - keys[j])
        found.append(s)
    return found


def answer(given: dict[str, Any], weight: Any = mp.exp) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return outputs [batch, heads, n_q, d_v] and sums of weights [batch, heads, n_q], NaN where that is zero."""
    q, v = given["q"], given["v"]
    outputs, sums = np.empty((*q.shape[:3], v.shape[3]), object), np.empty(q.shape[:3], object)
    with mp.workprec(BITS):
        for b, h, i in np.ndindex(*q.shape[:3]):
            seen, group = seen_by(given, b, h, i), h // (q.shape[1] // v.shape[1])
            weights = [weight(s) for s in logits_of(given, b, h, i, seen)]
            z = mp.fsum(weights) + (weight(mp.mpf(float(given["sinks"][h]))) if "sinks" in given else 0)
            kept = given["dropout_mask"][h, i] if "dropout_mask" in given else np.ones(v.shape[2], bool)
            share = 1 - mp.mpf(given.get("dropout", 0.0))
            sums[b, h, i] = z
            for c in range(v.shape[3]):
                y = mp.fsum(w * mp.mpf(float(v[b, group, j, c])) for w, j in zip(weights, seen, strict=True) if kept[j])
                outputs[b, h, i, c] = mp.zero if not seen else mp.nan if z == 0 else y / z / share
    return outputs, sums


def gradient(given: dict[str, Any], dout: Any, weight: Any = mp.exp, slope: Any = mp.exp) -> dict[str, Any]:
    """Return dq, dk, dv, dbias and dsinks of sum(dout * output), for weights that are functions of logits."""
    q, k, v = given["q"], given["k"], given["v"]
    found = {name: np.full(x.shape, mp.zero, object) for name, x in (("dq", q), ("dk", k), ("dv", v))}
    pairs = (*q.shape[:3], k.shape[2])
    bias = given.get("bias")
    places = None if bias is None else np.broadcast_to(np.arange(bias.size).reshape(bias.shape), pairs)
    of_bias = None if bias is None else np.full(bias.size, mp.zero, object)
    of_sinks = np.full(q.shape[1], mp.zero, object)
    outputs, sums = answer(given, weight)
    with mp.workprec(BITS):
        scale = 1 / mp.sqrt(q.shape[3]) if given.get("scale") is None else mp.mpf(given["scale"])
        share = 1 - mp.mpf(given.get("dropout", 0.0))
        for b, h, i in np.ndindex(*q.shape[:3]):
            seen, group, z = seen_by(given, b, h, i), h // (q.shape[1] // k.shape[1]), sums[b, h, i]
            own = [mp.mpf(float(x)) for x in dout[b, h, i]]
            delta = mp.fdot(own, outputs[b, h, i].tolist())
            if "sinks" in given:
                of_sinks[h] -= delta * slope(mp.mpf(float(given["sinks"][h]))) / z
            for j, s in zip(seen, logits_of(given, b, h, i, seen), strict=True):
                kept = "dropout_mask" not in given or bool(given["dropout_mask"][h, i, j])
                values = [mp.mpf(float(x)) for x in v[b, group, j]]
                for c, d in enumerate(own):
                    found["dv"][b, group, j, c] += d * weight(s) / z / share if kept else 0
                change = ((mp.fdot(own, values) / share if kept else 0) - delta) / z * slope(s)
                if places is not None and of_bias is not None:
                    of_bias[places[b, h, i, j]] += change
                if "softcap" in given:
                    product = scale * mp.fdot(*([mp.mpf(float(x)) for x in y] for y in (q[b, h, i], k[b, group, j])))
                    change *= 1 - mp.tanh(product / given["softcap"]) ** 2
                for c in range(q.shape[3]):
                    found["dq"][b, h, i, c] += scale * change * mp.mpf(float(k[b, group, j, c]))
                    found["dk"][b, group, j, c] += scale * change * mp.mpf(float(q[b, h, i, c]))
    if of_bias is not None and bias is not None:
        found["dbias"] = of_bias.reshape(bias.shape)
    if "sinks" in given:
        found["dsinks"] = of_sinks
    return found
