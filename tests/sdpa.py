"""Arguments of torch's scaled_dot_product_attention, drawn at random, and what its documentation says they mean.

The document states a formula: logits scale q.k, with 1/sqrt(E) for no scale; under is_causal query i sees keys 0 .. i
(`tril(diagonal=0)` of an L x S matrix: the top left); booleans of attn_mask say what takes part, numbers are added;
under enable_gqa each key head is repeated for Hq/H query heads in a row ("repeat_interleave").
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mpmath import mp

# Bits of every number: biases go down to the lowest float32, which is 130 bits long beside logits of 1e-3.
BITS = 300

LOWEST = float(np.finfo(np.float32).min)


def arguments(seed: int, *, seen: bool = False, keys: int = 10) -> dict[str, Any]:
    """Return arguments, seeded; seen: every query sees the first key; keys: there are at most as many."""
    rng = np.random.default_rng((1701, seed))
    groups, members = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    n_q, n_k, d, d_v = (int(x) for x in rng.integers(1, (8, keys + 1, 9, 6)))
    lead: list[tuple[int, ...]] = [(), (1,), (2,), (2, 2)]
    batch = lead[int(rng.integers(4))]
    grouped = bool(rng.random() < 0.4)
    heads = groups * members if grouped else groups
    size = 10.0 ** rng.uniform(-1, 0.7)
    given: dict[str, Any] = {
        "query": rng.standard_normal((*batch, heads, n_q, d)) * size,
        "key": rng.standard_normal((*batch, groups, n_k, d)),
        "value": rng.standard_normal((*batch, groups, n_k, d_v)) * 10.0 ** rng.uniform(-2, 2),
    }
    if not grouped and rng.random() < 0.15:
        given = {name: array.reshape((-1, *array.shape[-2:]))[0] for name, array in given.items()}
    elif grouped or rng.random() < 0.2:
        given["enable_gqa"] = True
    if rng.random() < 0.4:
        given["scale"] = float(rng.choice([1.0, 0.3, 0.5, -0.5, 0.0]))
    if rng.random() < 0.45:
        given["is_causal"] = True
    elif rng.random() < 0.7:
        whole = (*given["query"].shape[:-1], n_k)
        mask = rng.standard_normal(whole[int(rng.integers(len(whole) - 1)) :])
        kind = rng.integers(3)
        if kind == 0:
            given["attn_mask"] = mask < 0.5
            given["attn_mask"][..., 0] |= seen
        else:
            hidden = rng.random(mask.shape) < 0.3
            hidden[..., 0] &= not seen
            given["attn_mask"] = mask if kind == 1 else np.where(hidden, rng.choice([-np.inf, LOWEST]), mask)
    return given


def meaning(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Return outputs as mpf, [..., Hq, L, Ev], 0 in rows that see nothing, by the formula of the documentation."""
    length, source = query.shape[-2], key.shape[-2]
    if enable_gqa:
        key, value = (np.repeat(x, query.shape[-3] // x.shape[-3], axis=-3) for x in (key, value))
    mask = None if attn_mask is None else np.broadcast_to(attn_mask, (*query.shape[:-1], source))
    found = np.empty((*query.shape[:-1], value.shape[-1]), object)
    with mp.workprec(BITS):
        factor = 1 / mp.sqrt(query.shape[-1]) if scale is None else mp.mpf(scale)
        for place in np.ndindex(*query.shape[:-1]):
            head, i = place[:-1], place[-1]
            assert i < length
            weights, seen = [], []
            for j in range(source):
                if is_causal and j > i:
                    continue
                s = factor * mp.fdot((mp.mpf(a), mp.mpf(b)) for a, b in zip(query[place], key[(*head, j)], strict=True))
                if mask is not None and mask.dtype == np.bool_:
                    if not mask[(*place, j)]:
                        continue
                elif mask is not None:
                    s += mp.mpf(float(mask[(*place, j)]))
                weights.append(mp.exp(s))  # exp(-inf) is 0
                seen.append(j)
            z = mp.fsum(weights)
            for c in range(value.shape[-1]):
                y = mp.fdot((w, mp.mpf(value[(*head, j, c)])) for w, j in zip(weights, seen, strict=True))
                found[(*place, c)] = y / z if z else mp.zero
    return found
