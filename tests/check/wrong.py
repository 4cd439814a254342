"""Attention functions with one mistake each, for arrays of numpy: the program of another process, numpy alone."""

from __future__ import annotations

import math
import os
import sys
import time

import numpy as np


def _logits(q, k, scale):
    return (q @ np.swapaxes(k, -1, -2)) * q.dtype.type(scale)


def _softmax(s, v):
    top = s.max(-1, keepdims=True)
    w = np.exp(s - np.where(np.isfinite(top), top, 0).astype(s.dtype))
    return (w @ v) / w.sum(-1, keepdims=True)


def _triangle(s, diagonal=0):
    return np.tri(*s.shape[-2:], k=diagonal, dtype=bool)


def _repeated(x, heads):
    return np.repeat(x, heads // x.shape[-3], axis=-3)


def right(
    query, key, value, attn_mask=None, is_causal=False, scale=None, enable_gqa=False,
    softcap=None, window=(-1, -1), sinks=None, seqlens_k=None,
):  # fmt: skip
    return _attention(query, key, value, attn_mask, is_causal, scale, softcap, window, sinks, seqlens_k)


def _attention(q, k, v, mask, causal, scale, softcap=None, window=(-1, -1), sinks=None, lengths=None, **bug):
    """Return the output; each entry of `bug` is one mistake."""
    d = q.shape[-1]
    heads = q.shape[-3]
    if k.shape[-3] != heads:
        if "tiled" in bug:
            k, v = (np.concatenate([x] * (heads // x.shape[-3]), axis=-3) for x in (k, v))
        else:
            k, v = _repeated(k, heads), _repeated(v, heads)
    if "half" in bug:
        q, k = q[..., : d // 2], k[..., : d // 2]
    if "chunk" in bug:
        kept = k.shape[-2] - k.shape[-2] % bug["chunk"] or k.shape[-2]
        k, v = k[..., :kept, :], v[..., :kept, :]
        mask = None if mask is None else mask[..., :kept]
    if "most" in bug:
        k, v = k[..., : bug["most"], :], v[..., : bug["most"], :]
        mask = None if mask is None else mask[..., : bug["most"]]
    factor = 1 / math.sqrt(d) if scale is None or "default_scale" in bug else scale
    factor = bug.get("factor", lambda f: f)(factor)
    if "rounded" in bug:
        q, k, v = (x.astype(bug["rounded"]).astype(x.dtype) for x in (q, k, v))
    s = _logits(q, k, factor)
    if "rounded_logits" in bug:
        s = s.astype(bug["rounded_logits"]).astype(s.dtype)
    hidden = np.zeros(s.shape, bool)
    if causal and "no_causal" not in bug:
        apart = s.shape[-1] - s.shape[-2] if "bottom" in bug else 0
        hidden |= ~_triangle(s, bug.get("diagonal", 0) + apart)
    at = np.arange(s.shape[-1]) - np.arange(s.shape[-2])[:, None]
    before, after = (x if x < 0 else x + bug.get("wider", 0) for x in window)
    if before >= 0 and "no_window" not in bug:
        hidden |= at < -before
    if after >= 0 and "no_window" not in bug:
        hidden |= at > after
    if lengths is not None and "no_lengths" not in bug:
        ends = np.asarray(lengths).reshape(-1, 1, 1, 1) if s.ndim == 4 else np.asarray(lengths)
        hidden |= np.arange(s.shape[-1]) >= ends
    added = None
    if mask is not None and "no_mask" not in bug:
        if mask.dtype == bool:
            hidden |= mask if "inverted" in bug else ~mask
        elif "as_booleans" in bug:
            hidden |= ~mask.astype(bool)
        else:
            added = mask * mask.dtype.type(factor) if "scaled_mask" in bug else mask
    if softcap is not None and "no_cap" not in bug:
        if "cap_last" in bug:
            s = np.where(hidden, -np.inf, s)
            hidden = np.zeros(s.shape, bool)
        s = s.dtype.type(softcap) * np.tanh(s / s.dtype.type(softcap))
    if added is not None:
        s = s + added
    every = s
    s = np.where(hidden, s.dtype.type(bug.get("hidden", -np.inf)), s)
    if "over_queries" in bug:
        w = np.exp(s - s.max(-2, keepdims=True))
        return (w / w.sum(-2, keepdims=True)) @ v
    top = s.max(-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0).astype(s.dtype)
    if "no_maximum" in bug:
        top = np.zeros_like(top)
    w = np.exp2(s - top) if "powers_of_two" in bug else np.exp(s - top)
    w = bug.get("weights", lambda w: w)(w)
    total = w.sum(-1, keepdims=True)
    if "all_in_total" in bug:
        total = np.exp(every - top).sum(-1, keepdims=True)
    if "total" in bug:
        total = bug["total"](total, w)
    numerator = w @ v
    if "accumulator" in bug:
        numerator, total = _narrow_sums(w, v, bug["accumulator"])
    if sinks is not None and "no_sink" not in bug:
        sink = np.exp(np.asarray(sinks).reshape(-1, 1, 1) - top)
        total = total + sink
        if "sink_counts" in bug:
            numerator = numerator + sink * (1 if bug["sink_counts"] == "ones" else v[..., :1, :])
    return (numerator / total).astype(q.dtype)


def _narrow_sums(w, v, kind):
    """Add up a key after another in a narrow format."""
    numerator = np.zeros((*w.shape[:-1], v.shape[-1]), kind)
    total = np.zeros((*w.shape[:-1], 1), kind)
    for t in range(w.shape[-1]):
        numerator = (numerator + w[..., t : t + 1].astype(kind) * v[..., t : t + 1, :].astype(kind)).astype(kind)
        total = (total + w[..., t : t + 1].astype(kind)).astype(kind)
    return numerator.astype(w.dtype), total.astype(w.dtype)


def _with(**bug):
    def function(
        query, key, value, attn_mask=None, is_causal=False, scale=None, enable_gqa=False,
        softcap=None, window=(-1, -1), sinks=None, seqlens_k=None,
    ):  # fmt: skip
        parts = (query, key, value, attn_mask, is_causal, scale, softcap, window, sinks, seqlens_k)
        return _attention(*parts, **bug)

    return function


# By name: the function, and what the diagnosis has to say, a part of it; None where nothing is known to say.
WRONG = {
    "scale_missing": (_with(factor=lambda f: 1.0), "scale is missing"),
    "scale_twice": (_with(factor=lambda f: f * f), "scale is applied twice"),
    "scale_inverted": (_with(factor=lambda f: 1 / f), "divided by"),
    "scale_tenth_off": (_with(factor=lambda f: 0.9 * f), "factor of 0.9"),
    "scale_ignored": (_with(default_scale=True), "given scale is ignored"),
    "powers_of_two": (_with(powers_of_two=True), "powers of 2"),
    "scale_log2": (_with(factor=lambda f: f / math.log(2)), "powers of e for powers of 2"),
    "causal_ignored": (_with(no_causal=True), "causal is ignored"),
    "causal_next": (_with(diagonal=1), "sees the next key"),
    "causal_strict": (_with(diagonal=-1), "does not see its own key"),
    "causal_bottom": (_with(bottom=True), "aligned at the other end"),
    "heads_tiled": (_with(tiled=True), "tiled"),
    "mask_inverted": (_with(inverted=True), "mask is inverted"),
    "mask_ignored": (_with(no_mask=True), "mask is ignored"),
    "mask_as_booleans": (_with(as_booleans=True), "read as booleans"),
    "mask_scaled": (_with(scaled_mask=True), "scaled too"),
    "hidden_is_small": (_with(hidden=-10.0), None),
    "accumulator_float16": (_with(accumulator=np.float16), "narrow format"),
    "softmax_float16": (_with(weights=lambda w: w.astype(np.float16).astype(w.dtype)), "narrow format"),
    "inputs_float16": (_with(rounded=np.float16), "narrow format"),
    "logits_float16": (_with(rounded_logits=np.float16), "narrow format"),
    "not_divided": (_with(total=lambda z, w: np.ones_like(z)), "is not divided by"),
    "divided_by_count": (_with(total=lambda z, w: np.full_like(z, w.shape[-1])), "number of keys"),
    "total_of_all": (_with(all_in_total=True), "counts keys that are hidden"),
    "total_with_one_more": (_with(total=lambda z, w: z + 1), "one is added"),
    "no_maximum": (_with(no_maximum=True), "maximum is not subtracted"),
    "lengths_ignored": (_with(no_lengths=True), "beyond the length"),
    "half_the_size": (_with(half=True), "half the head size"),
    "window_wider": (_with(wider=1), "window is wider by one"),
    "window_narrower": (_with(wider=-1), "window is narrower by one"),
    "window_ignored": (_with(no_window=True), "window is ignored"),
    "cap_after_mask": (_with(cap_last=True), "soft cap comes after the mask"),
    "cap_ignored": (_with(no_cap=True), "soft cap is ignored"),
    "sink_ignored": (_with(no_sink=True), "sink is ignored"),
    "sink_of_ones": (_with(sink_counts="ones"), "numerator, with ones"),
    "sink_of_first": (_with(sink_counts="first"), "numerator, with the first value"),
    "chunk_dropped": (_with(chunk=16), "last whole chunk of 16"),
    "last_key_dropped": (_with(most=-1), "last key"),
    "over_queries": (_with(over_queries=True), "normalised over queries"),
    "zeros": (lambda q, k, v: np.zeros((*q.shape[:-1], v.shape[-1]), q.dtype), "answers zeros"),
    "mean": (lambda q, k, v: np.broadcast_to(v.mean(-2, keepdims=True), q.shape).copy(), "weigh the same"),
    "top_key": (
        lambda q, k, v: np.take_along_axis(v, (q @ np.swapaxes(k, -1, -2)).argmax(-1)[..., None], axis=-2),
        "only the largest weight",
    ),
    "weights_squared": (_with(weights=lambda w: w * w), "factor of 2"),
    "tiny_added": (_with(total=lambda z, w: z + z.dtype.type(1e-3)), None),
}
globals().update({name: function for name, (function, _) in WRONG.items()})


# What a function may do instead of answering.
def aborts(q, k, v):
    os.abort()


def sleeps(q, k, v):
    time.sleep(3600)


def allocates(q, k, v):
    kept = []
    while True:
        kept.append(np.ones(1 << 22))


def transposed(q, k, v):
    return np.swapaxes(_softmax(_logits(q, k, q.shape[-1] ** -0.5), v), -1, -2)


def wider(q, k, v):
    return _softmax(_logits(q, k, q.shape[-1] ** -0.5), v).astype(np.float64)


def nan(q, k, v):
    return np.full((*q.shape[:-1], v.shape[-1]), np.nan, q.dtype)


def locked(q, k, v):
    out = _softmax(_logits(q, k, q.shape[-1] ** -0.5), v)
    out.flags.writeable = False
    return out


def view(q, k, v):
    return v[..., : q.shape[-2], :]


def changes(q, k, v):
    q *= q.dtype.type(q.shape[-1] ** -0.5)
    return _softmax(_logits(q, k, 1.0), v)


def prints(q, k, v):
    sys.stdout.write("x" * (1 << 22))
    return _softmax(_logits(q, k, q.shape[-1] ** -0.5), v)


def leaves(q, k, v):
    sys.exit(0)


def raises(q, k, v):
    raise ValueError("a chunk of 64 is needed\nand more")


def random(q, k, v):
    out = _softmax(_logits(q, k, q.shape[-1] ** -0.5), v)
    return out * (1 + np.random.default_rng().standard_normal(out.shape) * 1e-7).astype(out.dtype)


def nothing(q, k, v):
    return None


def starts_others(q, k, v):
    if os.fork() == 0:
        time.sleep(3600)
    return np.zeros(1)


def printed_a_little(q, k, v):
    print("warming up")
    return _softmax(_logits(q, k, q.shape[-1] ** -0.5), v)


HARMFUL = {
    "aborts": "SIGABRT",
    "sleeps": "took more than",
    "allocates": "memory",
    "transposed": "shape",
    "wider": "type float64",
    "nan": "not finite",
    "locked": "cannot be written to",
    "view": "a view of its input v",
    "changes": "changed its input q",
    "prints": "printed more than",
    "leaves": "raised SystemExit",
    "raises": "ValueError: a chunk of 64",
    "random": "differ from call to call",
    "nothing": "returned NoneType",
    "starts_others": "shape",
}
