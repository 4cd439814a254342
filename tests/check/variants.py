"""Fifty right ways to compute attention in the type of the arrays: none may fail. numpy alone."""

from __future__ import annotations

import math

import numpy as np


def _factor(q, scale):
    return 1 / math.sqrt(q.shape[-1]) if scale is None else scale


def _heads(x, heads):
    return np.repeat(x, heads // x.shape[-3], axis=-3)


def _hidden(s, first, mask, causal):
    """Return logits of keys from `first` on, with what is hidden at minus infinity and what is added added."""
    if mask is not None:
        part = mask[..., first : first + s.shape[-1]]
        s = np.where(part, s, -np.inf).astype(s.dtype) if part.dtype == bool else s + part
    if causal:
        at = first + np.arange(s.shape[-1]) - np.arange(s.shape[-2])[:, None]
        s = np.where(at > 0, -np.inf, s).astype(s.dtype)
    return s


def _finite(top):
    return np.where(np.isfinite(top), top, 0).astype(top.dtype)


def _dot(q, k, how):
    """Return q k^T: by the library, component after component, from the last one, or in halves (split dot products)."""
    if how == "library":
        return q @ np.swapaxes(k, -1, -2)
    if how == "halves":
        d = q.shape[-1] // 2 or 1
        return _dot(q[..., :d], k[..., :d], "library") + _dot(q[..., d:], k[..., d:], "library")
    total = np.zeros((*q.shape[:-1], k.shape[-2]), q.dtype)
    order = range(q.shape[-1]) if how == "forwards" else reversed(range(q.shape[-1]))
    for i in order:
        total = total + q[..., i : i + 1] * k[..., i][..., None, :]
    return total


def _logits(q, k, scale, where, dot="library"):
    one = q.dtype.type
    if where == "query":
        return _dot(q * one(scale), k, dot)
    if where == "both":
        return _dot(q * one(math.sqrt(abs(scale))), k * one(math.copysign(math.sqrt(abs(scale)), scale)), dot)
    return _dot(q, k, dot) * one(scale)


def _sums(w, v, how):
    """Return w v and the sum of w: by the library, one after the other, backwards, or in blocks of 32."""
    if how == "library":
        return w @ v, w.sum(-1, keepdims=True)
    if how == "wide":  # as fused multiply-adds do, products are not rounded by themselves
        return (w.astype(np.float64) @ v.astype(np.float64)).astype(w.dtype), w.sum(-1, keepdims=True)
    if how == "backwards":
        w, v = w[..., ::-1], v[..., ::-1, :]
    step = 32 if how == "blocks" else max(1, w.shape[-1] // 4096)
    numerator = np.zeros((*w.shape[:-1], v.shape[-1]), w.dtype)
    total = np.zeros((*w.shape[:-1], 1), w.dtype)
    for first in range(0, w.shape[-1], step):
        part = slice(first, first + step)
        numerator = numerator + w[..., part] @ v[..., part, :]
        total = total + w[..., part].sum(-1, keepdims=True)
    return numerator, total


def _direct(where="logits", dot="library", sums="library", power="e", divide="last", order="given"):
    def attention(query, key, value, attn_mask=None, is_causal=False, scale=None, enable_gqa=False):
        q, (k, v) = query, (_heads(x, query.shape[-3]) for x in (key, value))
        factor = _factor(q, scale) * (math.log2(math.e) if power == "2" else 1.0)
        s = _logits(q, k, factor, where, dot)
        mask = attn_mask
        if mask is not None and mask.dtype != bool and power == "2":
            mask = mask * mask.dtype.type(math.log2(math.e))
        s = _hidden(s, 0, mask, is_causal)
        if order != "given":
            places = np.random.default_rng(order).permutation(s.shape[-1])
            s, v = s[..., places], v[..., places, :]
        top = _finite(s.max(-1, keepdims=True))
        w = np.exp2(s - top) if power == "2" else np.exp(s - top)
        if divide == "first":
            return _sums(w / w.sum(-1, keepdims=True), v, sums)[0]
        if divide == "logarithm":
            total = w.sum(-1, keepdims=True)
            return _sums(np.exp(s - (top + np.log(total))), v, sums)[0]
        numerator, total = _sums(w, v, sums)
        return numerator * (1 / total).astype(w.dtype) if divide == "inverse" else numerator / total

    return attention


def _online(chunk, where="logits", backwards=False, rows=None):
    def attention(query, key, value, attn_mask=None, is_causal=False, scale=None, enable_gqa=False):
        if rows is not None and not is_causal and attn_mask is None:
            parts = range(0, query.shape[-2], rows)
            return np.concatenate([one(query[..., i : i + rows, :], key, value, None, False, scale) for i in parts], -2)
        return one(query, key, value, attn_mask, is_causal, scale)

    def one(q, key, value, mask, causal, scale):
        k, v = (_heads(x, q.shape[-3]) for x in (key, value))
        factor, shape = _factor(q, scale), (*q.shape[:-1], 1)
        top, total = np.full(shape, -np.inf, q.dtype), np.zeros(shape, q.dtype)
        output = np.zeros((*q.shape[:-1], v.shape[-1]), q.dtype)
        size = max(chunk, k.shape[-2] // 2048)
        starts = range(0, k.shape[-2], size)
        for first in reversed(starts) if backwards else starts:
            s = _hidden(_logits(q, k[..., first : first + size, :], factor, where), first, mask, causal)
            higher = np.maximum(top, s.max(-1, keepdims=True))
            w = np.exp(s - _finite(higher))
            kept = np.exp(np.where(np.isfinite(top), top - _finite(higher), -np.inf)).astype(q.dtype)
            output = output * kept + w @ v[..., first : first + size, :]
            total = total * kept + w.sum(-1, keepdims=True)
            top = higher
        return output / total

    return attention


def _split(parts):
    """Keys are split, and what comes of the parts is merged by the logarithms of their sums."""

    def attention(query, key, value, attn_mask=None, is_causal=False, scale=None, enable_gqa=False):
        q, (k, v) = query, (_heads(x, query.shape[-3]) for x in (key, value))
        size = -(-k.shape[-2] // parts)
        outputs, logs = [], []
        for first in range(0, k.shape[-2], size):
            part = slice(first, first + size)
            s = _hidden(_logits(q, k[..., part, :], _factor(q, scale), "logits"), first, attn_mask, is_causal)
            top = _finite(s.max(-1, keepdims=True))
            w = np.exp(s - top)
            total = w.sum(-1, keepdims=True)
            safe = np.where(total > 0, total, 1)
            outputs.append((w @ v[..., part, :]) / safe)
            logs.append(np.where(total > 0, top + np.log(safe), -np.inf))
        largest = _finite(np.max(logs, axis=0))
        shares = [np.exp(log - largest) for log in logs]
        return (sum(s * o for s, o in zip(shares, outputs, strict=True)) / sum(shares)).astype(q.dtype)

    return attention


VARIANTS = {
    **{
        f"direct_{where}_{dot}_{sums}": _direct(where, dot, sums)
        for where in ("logits", "query", "both")
        for dot in ("library", "forwards", "halves")
        for sums in ("library", "forwards", "blocks")
    },
    **{f"divide_{how}": _direct(divide=how) for how in ("first", "inverse", "logarithm")},
    **{f"powers_of_two_{sums}": _direct(power="2", sums=sums) for sums in ("library", "backwards")},
    **{f"order_{seed}": _direct(order=seed, sums="forwards") for seed in (1, 2)},
    "fused": _direct(sums="wide"),
    "components_backwards": _direct(dot="backwards"),
    **{f"online_{chunk}": _online(chunk) for chunk in (1, 7, 16, 64, 128, 1000)},
    "online_backwards": _online(32, backwards=True),
    "online_scaled_query": _online(64, "query"),
    "online_rows": _online(48, rows=16),
    **{f"split_{parts}": _split(parts) for parts in (2, 3, 5, 16, 64)},
}
globals().update(VARIANTS)
