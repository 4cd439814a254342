"""What the constant-state forms cost: against the published methods written plainly, and against a matrix product."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import comb, factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import verify
from tests.benchmarks.measurements import MEGABYTE, Measurement, peak_growth, ratio
from verify.families.polynomial.basis import monomial_indices, multiplicities
from verify.families.polynomial.features import FeatureMap
from verify.families.polynomial.state import CHUNK
from verify.numbers.arithmetic import ARITHMETICS
from verify.truth import reference

Arrays = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]

THREADS = 2
LONG, SHORT = 65_536, 4096
NAMES = {"taylor": "packed of order 3", "logexp": "log-exp stream"}

# Tokens whose cumulative sums the plain method holds at once: beyond it, it needs more memory and is no faster.
PLAIN_CHUNK = 8


def measurements() -> Iterator[Measurement]:
    """Yield what is measured, each named with its sizes; everything in float32, causal."""
    yield from against_plain(16, 3, 2048, 10)
    yield from against_plain(64, 3, 128, 30)
    yield from against_plain(8, 7, 512, 20)
    yield against_a_product(64, 3, 4096)
    yield growth_of_packed(64, 3, 4096)
    yield from against_nested(2048, 64)
    for kind, d in (("taylor", 16), ("logexp", 64)):
        yield per_token(kind, d)
        yield memory_by_context(kind, d)
    yield features_alone()


def against_plain(d: int, order: int, n: int, least: int) -> Iterator[Measurement]:
    """Yield the published method's time over that of our packed form, and how far apart they are."""
    tokens = normal(n, d)
    sizes = f"d = {d}, order {order}, n = {n}"
    yield ratio(
        f"plain Taylor / packed, {sizes}",
        f"at least {least}",
        lambda: plain_taylor(tokens, order),
        lambda: packed(tokens, order),
        turns=3,
    )
    # a few hundred float32 roundings of each; a wrong coefficient leaves more than 1e-2
    gap = np.abs(plain_taylor(tokens, order) - packed(tokens, order)).max()
    yield Measurement(f"largest difference of plain Taylor and packed, {sizes}", "at most 1e-4", [float(gap)])


def against_a_product(d: int, order: int, n: int) -> Measurement:
    """Return a large matrix product of 4 m (d_v + 1) n FLOPs against our packed form."""
    size = round((2 * comb(d + order, order) * (d + 1) * n) ** (1 / 3))
    square = np.random.default_rng(91).standard_normal((size, size)).astype(np.float32)
    tokens = normal(n, d)
    return ratio(
        f"a product of two {size} x {size} matrices, as many FLOPs / packed, d = {d}, order {order}, n = {n}",
        "at least 0.5",
        lambda: square @ square,
        lambda: packed(tokens, order),
        turns=7,
    )


def growth_of_packed(d: int, order: int, n: int) -> Measurement:
    """Return by how much a process grows at its peak in one call of our packed form."""
    growth = [peak_growth(packed, normal(n, d), order, threads=THREADS) / MEGABYTE for _ in range(3)]
    return Measurement(f"peak memory growth of packed, d = {d}, order {order}, n = {n}", "at most 400", growth, "MB")


def against_nested(n: int, d: int) -> Iterator[Measurement]:
    """Yield the time of nested log-sum-exps over that of the log-exp stream, and the largest errors likewise."""
    q, k, v = tokens = positive(n, d)
    yield ratio(
        f"nested log-sum-exps / log-exp stream, d = {d}, n = {n}",
        "at least 20",
        lambda: nested_logexp(tokens),
        lambda: logexp(tokens),
        turns=3,
    )
    shown = slice(n - 64, n)  # a causal query is one of its own; exact values of the last rows are enough
    exact = reference(verify.Problem(q[shown], k, v, causal=True, alignment="bottom-right"), 20, "logexp").value
    ours, nested = (np.abs(form(tokens)[shown] - exact).max() for form in (logexp, nested_logexp))
    yield Measurement(
        f"largest error, log-exp stream ({ours:.1e}) / nested log-sum-exps ({nested:.1e}), d = {d}, last 64 of {n}",
        "at most 1",
        [float(ours / nested)],
    )


def per_token(kind: str, d: int) -> Measurement:
    """Return the time of a long context over that of as many tokens in short ones."""
    long, short = normal(LONG, d), normal(SHORT, d)
    form = FORMS[kind]
    return ratio(
        f"time per token at n = {LONG:,} / at {SHORT:,}, {NAMES[kind]}, d = {d}",
        "at most 1.3",
        lambda: form(long),
        lambda: [form(short) for _ in range(LONG // SHORT)],
        turns=5,
    )


def memory_by_context(kind: str, d: int) -> Measurement:
    """Return by how much more a process grows when its state takes in a long context, in pieces, than a short one."""
    long, short = (peak_growth(stream_into, kind, d, count, threads=THREADS) for count in (LONG, SHORT))
    name = f"memory at n = {LONG:,} beyond that at {SHORT:,}, {NAMES[kind]}, d = {d}, tokens in pieces of {SHORT:,}"
    # what the allocator keeps between pieces is a few of their arrays, whatever the context
    return Measurement(name, "at most 8", [(long - short) / MEGABYTE], "MB")


def stream_into(kind: str, d: int, count: int) -> None:
    """Let a state take in tokens and answer, a piece after the other."""
    state: verify.TaylorState | verify.LogExpState
    if kind == "taylor":
        state = verify.TaylorState(d, d, 3, arithmetic="float32")
    else:
        state = verify.LogExpState(d, d, arithmetic="float32")
    q, k, v = normal(SHORT, d)
    for _ in range(count // SHORT):
        state.update(k, v)
        state.read(q)


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


FORMS: dict[str, Callable[[Arrays], NDArray[Any]]] = {"taylor": lambda tokens: packed(tokens, 3), "logexp": logexp}


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


def features_alone() -> Measurement:
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

    return ratio(
        f"gather and product / slices, features alone, d = {d}, order {order}, {n} tokens",
        "at least 10",
        gathered,
        sliced,
    )
