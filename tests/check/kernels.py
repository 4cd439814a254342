"""Kernels that strangers might have written, for the command line."""

import numpy as np

from tests.check.flashinfer import solved


def right(**given):
    return solved(given)


def top_left(q, k, v, qo_indptr, kv_indptr, sm_scale):
    given = {"q": q, "k": k, "v": v, "qo_indptr": qo_indptr, "kv_indptr": kv_indptr, "sm_scale": sm_scale}
    return solved(given, wrong="top left")


def other_names(queries, keys, values):
    return np.zeros_like(queries)


def needs_more(q, k_cache, v_cache, kv_indptr, kv_indices, sm_scale, workspace):
    return np.zeros_like(q)


def operator(Q, K, V, attn_mask=None, is_causal=0, scale=None, softcap=0.0):
    group = Q.shape[1] // K.shape[1]
    return attended(Q, K.repeat(group, axis=1), V.repeat(group, axis=1))


def operator_tiled(Q, K, V):
    tiles = (1, Q.shape[1] // K.shape[1], 1, 1)
    return attended(Q, np.tile(K, tiles), np.tile(V, tiles))


def attended(q, k, v):
    logits = q @ k.swapaxes(-1, -2) * q.dtype.type(q.shape[-1] ** -0.5)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights @ v / weights.sum(axis=-1, keepdims=True)
