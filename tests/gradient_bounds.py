"""How far off gradients may be that float64 works out the usual way: a bound from the problem alone.

With u = 2^-53, logits off by e, p = exp(s - m) / Z, D_i = sum_c |dout_ic| max_t |v_tc| / (1 - dropout), and N = n_k +
n_q H + d_k + d_v + 8 roundings, more than any sum here takes, every step to first order:

- m may be off as much as the largest logit is, the difference s - m is rounded, exp is off by `_LIBRARY` roundings, Z
  adds them up: p is off by eta = 2 max e + u (range of s + 2 `_LIBRARY` + N), relatively.
- dw_t = dout.v_t (kept or not) and delta = sum_t p_t dw_t are at most D in size; they are off by N u D, and delta by
  eta D besides.  So ds_t = p_t (dw_t - delta) is at most 2 p_t D, and off by p_t D (3 eta + 4 N u).
- The slope of the soft cap, 1 - tanh^2, is at most 1, and off by f = 2 (e / cap + (`_LIBRARY` + 2) u).
- With G_it = p_it D_i and kappa = 3 eta + 4 N u + 2 f + 2 N u, where the last term is what the sums that follow lose:

    dq_i: scale sum_t G_it kappa_i |k_t|;  dk_t: scale sum_i G_it kappa_i |q_i|;
    dv_t: sum_i p_it |dout_i| (eta_i + N u) / (1 - dropout);
    dbias: the sum of G kappa over what it broadcasts to;  dsinks: sum_i p_i,sink D_i kappa_i.

Twice that leaves room for products of errors.  Rows that see nothing, and hidden pairs, have p = 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.problem import Problem

U = 2.0**-53

# Roundings of exp or tanh of a library: four units in the last place.
_LIBRARY = 8


def gradient_bounds(problem: Problem, dout: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return bounds on |computed - exact| for "dq", "dk", "dv" and, where there are any, "dbias" and "dsinks"."""
    lead = problem.q.shape[:-2]
    added = problem.keys + problem.queries * problem.heads + problem.head_size + problem.value_size + 8
    found = {"dq": np.zeros(problem.q.shape), "dk": np.zeros(problem.k.shape), "dv": np.zeros(problem.v.shape)}
    of_pairs, of_sinks = np.zeros((*lead, problem.queries, problem.keys)), np.zeros(lead)
    for head in problem.each_head():
        seen, logits, doubt = head.attended(), head.logits(), head.logit_doubt()
        top = np.where(seen, logits, -np.inf).max(axis=1, keepdims=True, initial=-1e300)
        below = np.where(seen, top - logits, 0.0)
        weights = np.where(seen, np.exp(-below), 0.0)
        p = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)
        doubt = np.where(seen, doubt, 0.0).max(axis=1, keepdims=True, initial=0.0)
        eta = 2 * doubt + U * (below.max(axis=1, keepdims=True, initial=0.0) + 2 * _LIBRARY + added)
        capped = 0.0 if head.softcap is None else 2 * (doubt / head.softcap + (_LIBRARY + 2) * U)
        kappa = 3 * eta + 6 * added * U + 2 * capped
        d_out, share = np.abs(dout[head.index]), 1.0 - head.dropout
        size = d_out @ np.abs(head.v).max(axis=0, initial=0.0)[:, None] / share
        terms = 2 * p * size * kappa
        keys, shared = slice(0, problem.keys), problem.shared_head(head.index)
        scale = abs(head.float_scale)
        found["dq"][head.index] = scale * terms[:, keys] @ np.abs(head.k)
        found["dk"][shared] += scale * terms[:, keys].T @ np.abs(head.q)
        found["dv"][shared] += 2 * (p * (eta + added * U))[:, keys].T @ d_out / share
        of_pairs[head.index] = terms[:, keys]
        of_sinks[head.index] = terms[:, problem.keys :].sum()
    if problem.bias is not None:
        found["dbias"] = summed(of_pairs, problem.bias.shape)
    if problem.sinks is not None:
        found["dsinks"] = summed(of_sinks, problem.sinks.shape)
    return found


def summed(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the sums of an array over what broadcasts from a shape."""
    whole = (1,) * (array.ndim - len(shape)) + shape
    axes = tuple(axis for axis, size in enumerate(whole) if size == 1)
    found: NDArray[Any] = array.sum(axis=axes, keepdims=True).reshape(shape)
    return found
