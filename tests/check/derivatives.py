"""Gradients of attention by hand, right and wrong, a few lines each: what attnproof check --backward is tried on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Gradients = tuple[Any, Any, Any]


def _turned(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)


def _gradients(
    q: Any,
    k: Any,
    v: Any,
    dout: Any,
    *,
    is_causal: bool = False,
    scale: float | None = None,
    softcap: float | None = None,
    wrong: str = "",
) -> Gradients:
    group, number = q.shape[1] // k.shape[1], q.dtype.type
    scale_ = number(q.shape[-1] ** -0.5 if scale is None else scale)
    k_all, v_all = (np.repeat(x, group, 1) for x in (k, v))
    logits = (q @ _turned(k_all)) * scale_
    share = None if softcap is None else np.tanh(logits / number(softcap))
    logits = logits if share is None else number(softcap) * share
    if is_causal and wrong != "mask":
        logits = np.where(np.tri(*logits.shape[-2:]) > 0, logits, -np.inf)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    shares = weights / weights.sum(-1, keepdims=True)
    shares = shares.astype(np.float16).astype(q.dtype) if wrong == "narrow" else shares
    delta = (dout * (shares @ v_all)).sum(-1, keepdims=True)
    change = shares * (dout @ _turned(v_all) - (0 if wrong == "delta" else delta))
    if share is not None and wrong != "cap":
        change = change * (1 - share * share)
    after = number(1) if wrong == "scale" else scale_
    dq, dk, dv = (change @ k_all) * after, (_turned(change) @ q) * after, _turned(shares) @ dout
    if group > 1:
        dk, dv = (x.reshape((len(k), k.shape[1], group, *k.shape[2:])) for x in (dk, dv))
        dk, dv = (dk[:, :, -1], dv[:, :, -1]) if wrong == "group" else (dk.sum(2), dv.sum(2))
    return dq.astype(q.dtype), dk.astype(q.dtype), dv.astype(q.dtype)


def right(
    q: Any,
    k: Any,
    v: Any,
    dout: Any,
    is_causal: bool = False,
    scale: Any = None,
    softcap: Any = None,
    enable_gqa: Any = False,
) -> Gradients:
    return _gradients(q, k, v, dout, is_causal=is_causal, scale=scale, softcap=softcap)


def wrong_by(what: str) -> Callable[..., Gradients]:
    def function(
        q: Any,
        k: Any,
        v: Any,
        dout: Any,
        is_causal: bool = False,
        scale: Any = None,
        softcap: Any = None,
        enable_gqa: Any = False,
    ) -> Gradients:
        return _gradients(q, k, v, dout, is_causal=is_causal, scale=scale, softcap=softcap, wrong=what)

    return function


without_delta = wrong_by("delta")


def all_nan(q: Any, k: Any, v: Any, dout: Any) -> Gradients:
    return q * np.nan, k * np.nan, v * np.nan


def zeros(q: Any, k: Any, v: Any, dout: Any) -> Gradients:
    return q * 0, k * 0, v * 0


def exchanged(q: Any, k: Any, v: Any, dout: Any) -> Gradients:
    dq, dk, dv = _gradients(q, k, v, dout)
    return dk, dq, dv


def negative(q: Any, k: Any, v: Any, dout: Any) -> Gradients:
    dq, dk, dv = _gradients(q, k, v, dout)
    return -dq, -dk, -dv


def only_values_right(q: Any, k: Any, v: Any, dout: Any) -> Gradients:
    return q * 0, k * 0, _gradients(q, k, v, dout)[2]


def two(q: Any, k: Any, v: Any, dout: Any) -> Any:
    return _gradients(q, k, v, dout)[:2]


def wide(q: Any, k: Any, v: Any, dout: Any) -> Any:
    return tuple(x.astype(np.float64) for x in _gradients(q, k, v, dout))


def heads_lost(q: Any, k: Any, v: Any, dout: Any) -> Any:
    dq, dk, dv = _gradients(q, k, v, dout)
    return dq, dk[:, :1].copy(), dv


def padding_read(q: Any, k: Any, v: Any, dout: Any, lengths: Any = None) -> Gradients:
    """Right, but for keys that are padding."""
    found = _of_lengths(q, k, v, dout, lengths)
    if lengths is not None:
        for batch, length in enumerate(lengths):
            found[1][batch, :, length:] = 1e-30
    return found


def padding_left(q: Any, k: Any, v: Any, dout: Any, lengths: Any = None) -> Gradients:
    return _of_lengths(q, k, v, dout, lengths)


def _of_lengths(q: Any, k: Any, v: Any, dout: Any, lengths: Any) -> Gradients:
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for batch, length in enumerate([k.shape[2]] * len(k) if lengths is None else lengths):
        own = slice(batch, batch + 1)
        dq[own], dk[own, :, :length], dv[own, :, :length] = _gradients(
            q[own], k[own, :, :length], v[own, :, :length], dout[own]
        )
    return dq, dk, dv
