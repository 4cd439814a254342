"""Make the files beside this one: small inputs as people hold them, and right values by plain mpmath.

Nothing here uses the project, and the values were stored without seeing its own.  Each NAME.npz or NAME.safetensors has
a NAME.json: a note, and either "output" (decimal strings, [heads][queries][value size]) or "refuse", what the one line
must say.  Query head h of H reads key head h // (H / G).  `python tests/cases_of_people/make.py` gives the same bytes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from mpmath import mp
from safetensors.numpy import save_file

mp.dps = 130  # a bias of -3.4e38 takes 39 digits
HERE = Path(__file__).parent


def attention(
    q: Any,
    k: Any,
    v: Any,
    *,
    scale: Any = None,
    seen: Any = None,
    bias: Any = None,
    cap: Any = None,
    sinks: Any = None,
    weight: Any = mp.exp,
) -> tuple[Any, Any]:
    """Return (output, log-sum-exp) as object arrays; arguments hold exact binary numbers; bias after the cap."""
    H, n, d = q.shape
    G, m, e = k.shape[0], k.shape[1], v.shape[2]
    factor = 1 / mp.sqrt(d) if scale is None else mp.mpf(float(scale))
    out, lse = np.empty((H, n, e), object), np.empty((H, n), object)
    for h in range(H):
        g = h // (H // G)
        for i in range(n):
            keys = [j for j in range(m) if seen is None or seen[h, i, j]]
            s: list[Any] = []
            for j in keys:
                x = factor * mp.fdot(
                    (mp.mpf(float(a)), mp.mpf(float(b))) for a, b in zip(q[h, i], k[g, j], strict=True)
                )
                x = x if cap is None else cap * mp.tanh(x / cap)
                s.append(x if bias is None else x + mp.mpf(float(bias[h, i, j])))
            w = [weight(x) for x in s]
            z = mp.fsum(w) + (mp.exp(mp.mpf(float(sinks[h]))) if sinks is not None else 0)
            lse[h, i] = mp.log(z) if z > 0 else mp.mpf("-inf")
            out[h, i] = [
                mp.fsum(a * mp.mpf(float(v[g, j, c])) for a, j in zip(w, keys, strict=True)) / z if z else mp.mpf(0)
                for c in range(e)
            ]
    return out, lse


def text(values: Any) -> Any:
    """Return values as decimals."""
    return np.vectorize(lambda x: mp.nstr(x, 40), otypes=[object])(values).tolist()


def put(
    name: str,
    arrays: dict[str, Any],
    note: str,
    output: Any = None,
    refuse: str | None = None,
    metadata: Any = None,
    **more: Any,
) -> None:
    """Write one case."""
    if metadata is None and not any(str(a.dtype) in ("bfloat16", "float8_e4m3fn") for a in arrays.values()):
        np.savez(HERE / f"{name}.npz", **arrays)
    else:
        save_file(arrays, HERE / f"{name}.safetensors", metadata=metadata)
    said: dict[str, Any] = {"note": note, **more}
    said |= {"output": text(output)} if output is not None else {"refuse": refuse}
    (HERE / f"{name}.json").write_text(json.dumps(said, indent=1) + "\n")


def main() -> None:
    """Write all cases."""
    g = np.random.default_rng(2026)
    q, k, v = (g.standard_normal((2, 6, 8)).astype(np.float32) for _ in range(3))
    base = {"q": q, "k": k, "v": v}
    tri = np.broadcast_to(np.tri(6, dtype=bool), (2, 6, 6))
    holes = tri.copy()
    holes[:, 2] = False
    put(
        "name-attn-mask",
        {**base, "attn_mask": holes},
        "a boolean mask under torch's name; one row sees nothing",
        attention(q, k, v, seen=holes)[0],
    )
    put(
        "name-is-causal",
        {**base, "is_causal": np.array(True)},
        "causal under torch's name",
        attention(q, k, v, seen=tri)[0],
    )
    put(
        "name-softmax-scale",
        {**base, "softmax_scale": np.array(0.5)},
        "scale under flash-attention's name",
        attention(q, k, v, scale=0.5)[0],
    )
    put("name-unknown", {**base, "frobnicate": np.zeros(3)}, "an entry nobody knows", refuse="names frobnicate; exit 2")
    hot = {**base, "q": q * 8}
    put(
        "soft-cap",
        {**hot, "softcap": np.float32(5)},
        "soft cap 5, scale 1/sqrt(8)",
        attention(hot["q"], k, v, cap=mp.mpf(5))[0],
    )
    bias = (-np.abs(np.arange(6)[:, None] - np.arange(6)) * np.array([0.5, 0.25])[:, None, None]).astype(np.float32)
    put(
        "bias-alibi", {**base, "attn_bias": bias}, "additive bias, slopes 1/2 and 1/4", attention(q, k, v, bias=bias)[0]
    )
    sinks = np.array([0.75, -1.5], np.float32)
    put(
        "sinks",
        {**base, "sinks": sinks},
        "a learned logit per head in the denominator",
        attention(q, k, v, sinks=sinks)[0],
    )
    near = np.broadcast_to(
        (np.arange(6) <= np.arange(6)[:, None]) & (np.arange(6) > np.arange(6)[:, None] - 3), (2, 6, 6)
    )
    put(
        "window",
        {**base, "is_causal": np.array(True), "window_size": np.array([2, 0])},
        "a query sees itself and two keys before",
        attention(q, k, v, seen=near)[0],
    )

    def t(x: Any) -> Any:
        return np.ascontiguousarray(x.swapaxes(0, 1)[None])

    put(
        "layout-bshd",
        {a: t(x) for a, x in base.items()},
        "[batch, tokens, heads, size]; output here is [heads][queries][size]",
        attention(q, k, v)[0],
        options=["--layout", "bshd"],
    )
    qg = g.standard_normal((4, 6, 8)).astype(np.float32)
    put(
        "layout-bshd-grouped",
        {"q": t(qg), "k": t(k), "v": t(v)},
        "grouped heads in that layout: without --layout a refusal",
        attention(qg, k, v)[0],
        options=["--layout", "bshd"],
    )
    put(
        "mask-additive",
        {**base, "attn_mask": np.where(tri, 0, -np.inf).astype(np.float32)},
        "0 and -inf",
        attention(q, k, v, seen=tri)[0],
    )
    low = np.where(tri, 0, np.finfo(np.float32).min).astype(np.float32)
    low[:, 3] = np.finfo(np.float32).min
    put(
        "mask-additive-lowest",
        {**base, "attn_mask": low},
        "0 and the lowest float32; row 3 has the lowest everywhere, which exactly is plain softmax",
        attention(q, k, v, bias=low)[0],
    )
    put(
        "mask-zero-one",
        {**base, "attn_mask": tri.astype(np.float32)},
        "0.0 and 1.0: keep mask or bias?",
        refuse="says that both readings exist and how to say which; exit 2",
    )
    kn, vn = k.copy(), v.copy()
    kn[:, 4:], vn[:, 4:] = np.nan, np.nan
    tail = np.broadcast_to(np.arange(6) < 4, (2, 6, 6))
    put(
        "cache-tail-nan",
        {"q": q, "k": kn, "v": vn, "mask": tail},
        "NaN where nothing attends",
        attention(q, k, v, seen=tail)[0],
    )
    put(
        "cache-tail-attended",
        {"q": q, "k": kn, "v": vn},
        "NaN where something attends",
        refuse="names the first element of k and that it is attended; exit 2",
    )
    bits = {a: x.astype(ml_dtypes.bfloat16).view(np.uint16) for a, x in base.items()}
    rounded = {a: x.astype(ml_dtypes.bfloat16).astype(np.float64) for a, x in base.items()}
    put(
        "bits-bfloat16",
        bits,
        "bfloat16 stored as its bit patterns; without --bits a refusal",
        attention(*rounded.values())[0],
        options=["--bits", "bfloat16"],
    )
    k8, v8 = (x.astype(ml_dtypes.float8_e4m3fn) for x in (k, v))
    ks, vs = np.array([0.5, 3.0], np.float32), np.array([0.25, 1.5], np.float32)

    def wide(x: Any, s: Any) -> Any:
        return x.astype(np.float64) * s.astype(np.float64)[:, None, None]

    put(
        "descales",
        {"q": q.astype(ml_dtypes.bfloat16), "k": k8, "v": v8, "k_descale": ks, "v_descale": vs},
        "8-bit K and V with a factor per head; q bfloat16",
        attention(rounded["q"], wide(k8, ks), wide(v8, vs))[0],
    )
    one = np.ones((1, 3, 128), np.float32)
    vt = np.array([[[1.0], [1.0078125], [1.0]]], np.float32)
    put(
        "tie-equal-keys",
        {"q": one[:, :1], "k": one[:, :2], "v": vt[:, :2]},
        "equal keys, 1/sqrt(128) irrational: 1.00390625 exactly, a tie in bfloat16, to even: 1.0",
        attention(one[:, :1], one[:, :2], vt[:, :2])[0],
        rounded={"bfloat16": [[[1.0]]]},
    )
    put(
        "tie-constant-v",
        {"q": q[:1], "k": k[:1], "v": np.full((1, 6, 1), 1.00390625, np.float32)},
        "constant v: the output is v, a tie in bfloat16",
        attention(q[:1], k[:1], np.full((1, 6, 1), 1.00390625))[0],
        rounded={"bfloat16": [[[1.0]] * 6]},
    )
    _, lse = attention(q, k, v, seen=tri)
    put(
        "log-sum-exp",
        {**base, "causal": np.array(True)},
        "causal; natural logarithm of the sum of exp",
        attention(q, k, v, seen=tri)[0],
        lse=text(lse),
    )

    def cut(s: Any) -> Any:
        return 1 + s + s * s / 2

    put(
        "padding-taylor2",
        {**base, "mask": tail},
        "Taylor of order 2, in every form: padding keys are dropped",
        attention(q, k, v, seen=tail, weight=cut)[0],
        mechanism="taylor",
        order=2,
    )
    gradients(g)


def gradients(g: Any) -> None:
    """One head: dq, dk, dv of sum(dout * output) by differences, exact to about 30 digits."""
    q, k, v, dout = (g.standard_normal((1, 3, 4)).astype(np.float32) for _ in range(4))

    def loss(a: Any, b: Any, c: Any) -> Any:
        y = np.empty((3, 4), object)
        for i in range(3):
            s = [sum(x * z for x, z in zip(a[i], b[j], strict=True)) / 2 for j in range(3)]
            w = [mp.exp(x) for x in s]
            y[i] = [sum(w[j] * c[j][e] for j in range(3)) / sum(w) for e in range(4)]
        return sum(mp.mpf(float(dout[0, i, e])) * y[i, e] for i in range(3) for e in range(4))

    start = [np.vectorize(lambda x: mp.mpf(float(x)), otypes=[object])(x[0]) for x in (q, k, v)]
    h = mp.mpf(10) ** -30
    said = {"note": "gradients of softmax attention for the given dout, scale 1/2, not causal; good to 30 digits"}
    for place, name in enumerate(("dq", "dk", "dv")):
        grad = np.empty((3, 4), object)
        for i, j in np.ndindex(3, 4):
            ends = []
            for sign in (1, -1):
                moved = [x.copy() for x in start]
                moved[place][i, j] += sign * h
                ends.append(loss(*moved))
            grad[i, j] = (ends[0] - ends[1]) / (2 * h)
        said[name] = np.vectorize(lambda x: mp.nstr(x, 30), otypes=[object])(grad).tolist()
    np.savez(HERE / "gradients.npz", q=q, k=k, v=v, dout=dout)
    (HERE / "gradients.json").write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()
