"""What the constant-state forms cost: against the published methods written plainly, and against a matrix product."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import comb, factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import verify
from tests.benchmarks.ratios import Ratio, measured
from verify.arithmetic import ARITHMETICS
from verify.attention.features import FeatureMap
from verify.attention.taylor_state import CHUNK
from verify.basis import monomial_indices, multiplicities
from verify.truth import reference

Arrays = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]

# Tokens whose cumulative sums the plain method holds at once: beyond it, it needs more memory and is no faster.
PLAIN_CHUNK = 8


def ratios() -> Iterator[Ratio]:
    """Yield the ratios one by one, each named with its sizes; everything in float32, causal."""
    yield against_plain(16, 3, 2048, 10)
    yield against_plain(64, 3, 128, 30)
    yield against_plain(8, 7, 512, 20)
    yield against_a_product(64, 3, 4096)
    yield against_nested(2048, 64)
    yield per_token("packed of order 3", 16, lambda tokens: packed(tokens, 3))
    yield per_token("log-exp stream", 64, logexp)
    yield features_alone()


def against_plain(d: int, order: int, n: int, least: int) -> Ratio:
    """Return the published method against our packed form, and in the name how near they are to each other."""
    tokens = normal(n, d)
    gap = np.abs(plain_taylor(tokens, order) - packed(tokens, order)).max()
    return measured(
        f"plain Taylor / packed, d = {d}, order {order}, n = {n} (largest difference {gap:.0e})",
        f"at least {least}",
        lambda: plain_taylor(tokens, order),
        lambda: packed(tokens, order),
        turns=3,
    )


def against_a_product(d: int, order: int, n: int) -> Ratio:
    """Return a large matrix product of 4 m (d_v + 1) n FLOPs against our packed form."""
    size = round((2 * comb(d + order, order) * (d + 1) * n) ** (1 / 3))
    square = np.random.default_rng(91).standard_normal((size, size)).astype(np.float32)
    tokens = normal(n, d)
    return measured(
        f"a product of two {size} x {size} matrices, as many FLOPs / packed, d = {d}, order {order}, n = {n}",
        "at least 0.5",
        lambda: square @ square,
        lambda: packed(tokens, order),
        turns=3,
    )


def against_nested(n: int, d: int) -> Ratio:
    """Return nested log-sum-exps against the log-exp stream; the name has the largest error of each."""
    q, k, v = tokens = positive(n, d)
    exact = reference(verify.Problem(q[:256], k[:256], v[:256], causal=True), 20, "logexp").value
    errors = [np.abs(form(tokens)[:256] - exact).max() for form in (nested_logexp, logexp)]
    return measured(
        f"nested log-sum-exps / log-exp stream, d = {d}, n = {n} (errors {errors[0]:.1e}, {errors[1]:.1e})",
        "at least 20",
        lambda: nested_logexp(tokens),
        lambda: logexp(tokens),
        turns=3,
    )


def per_token(name: str, d: int, form: Callable[[Arrays], object]) -> Ratio:
    """Return a long context against as many tokens in short ones."""
    long, short = normal(65_536, d), normal(4096, d)
    return measured(
        f"time per token at n = 65,536 / at 4,096, {name}, d = {d}",
        "at most 1.3",
        lambda: form(long),
        lambda: [form(short) for _ in range(16)],
        turns=3,
    )


def normal(n: int, d: int) -> Arrays:
    """Return q, k, v of one head."""
    q, k, v = np.random.default_rng(92).standard_normal((3, n, d)).astype(np.float32)
    return q, k, v


def positive(n: int, d: int) -> Arrays:
    """Return q, k and positive v: the published log-exp code takes no others."""
    q, k, v = normal(n, d)
    return q, k, np.abs(v)


def packed(tokens: Arrays, order: int) -> NDArray[Any]:
    """Return our packed form."""
    return verify.taylor_attention(*tokens, order=order, causal=True, arithmetic="float32")


def logexp(tokens: Arrays) -> NDArray[Any]:
    """Return our constant-state log-exp attention."""
    return verify.logexp_attention(*tokens, causal=True, form="stream", arithmetic="float32")


def plain_taylor(tokens: Arrays, order: int) -> NDArray[Any]:
    """Return SA (A1, A2) as it is written: gather by indices, product over the degree, cumulative sums over tokens."""
    q, k, v = tokens
    d = q.shape[1]
    indices = [np.array(monomial_indices(d, p), dtype=np.intp) for p in range(order + 1)]
    weights = [np.array(multiplicities(d, p), dtype=np.float32) for p in range(order + 1)]
    z = [np.zeros((1, len(chosen)), dtype=np.float32) for chosen in indices]
    s = [np.zeros((1, len(chosen), v.shape[1]), dtype=np.float32) for chosen in indices]
    out = np.empty_like(v)
    for first in range(0, len(q), PLAIN_CHUNK):
        rows = slice(first, first + PLAIN_CHUNK)
        numerator: Any = 0
        normaliser: Any = 0
        for p, chosen in enumerate(indices):
            alpha = np.float32(1 / (factorial(p) * d ** (p / 2)))
            of_k = alpha * k[rows][:, chosen].prod(axis=2)
            sums = z[p] + of_k.cumsum(axis=0)
            states = s[p] + (of_k[:, :, None] * v[rows][:, None, :]).cumsum(axis=0)
            of_q = weights[p] * q[rows][:, chosen].prod(axis=2)
            numerator = numerator + (of_q[:, None, :] @ states)[:, 0]
            normaliser = normaliser + (of_q * sums).sum(axis=1, keepdims=True)
            z[p], s[p] = sums[-1:], states[-1:]
        out[rows] = numerator / normaliser
    return out


def nested_logexp(tokens: Arrays) -> NDArray[Any]:
    """Return LE (2), (5), (6) as they are written: cumulative log-sum-exps over [n, d, d_v]."""
    q, k, v = tokens
    h_s = np.logaddexp.accumulate(k[:, :, None] + np.log(v)[:, None, :], axis=0)
    h_z = np.logaddexp.accumulate(k, axis=0)
    return np.asarray(np.exp(_log_sum_exp(q[:, :, None] + h_s) - _log_sum_exp(q + h_z)[:, None]))


def _log_sum_exp(values: NDArray[Any]) -> NDArray[Any]:
    top = values.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(values - top).sum(axis=1)) + top[:, 0])


def features_alone() -> Ratio:
    """Return what the features of a chunk cost, against gathering and multiplying."""
    d, order, n = 64, 3, CHUNK
    tokens = normal(n, d)[0]
    indices = [np.array(monomial_indices(d, p), dtype=np.intp) for p in range(order + 1)]
    blocks = FeatureMap(ARITHMETICS["float32"], 1, d, order, n, formed=True)

    def gathered() -> Any:
        return [tokens[:, chosen].prod(axis=2) for chosen in indices]

    def sliced() -> Any:
        for block in blocks.blocks(tokens[None]):
            last = block
        return last

    return measured(
        f"gather and product / slices, features alone, d = {d}, order {order}, {n} tokens",
        "at least 10",
        gathered,
        sliced,
    )
