"""The certification campaign: seeded problems of every kind, each certified by three accounts (`make certify`)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tests.cases import named
from verify.inputs.samples import sample
from verify.mechanisms.taylor.mechanism import TAYLOR
from verify.problem import Problem
from verify.truth import Reference, certify, reference, references

DIGITS = 50
FULL = 2100
SAMPLE = "smollm2-layer18"

Rng = np.random.Generator


def _shape(rng: Rng) -> tuple[int, int, int, int]:
    return int(rng.integers(1, 5)), int(rng.integers(1, 6)), int(rng.integers(1, 5)), int(rng.integers(1, 4))


def _normal(rng: Rng) -> Problem:
    n_q, n_k, d, d_v = _shape(rng)
    return Problem(rng.standard_normal((n_q, d)), rng.standard_normal((n_k, d)), rng.standard_normal((n_k, d_v)))


def _needle(rng: Rng) -> Problem:
    n_q, n_k, d, d_v = _shape(rng)
    q, k = rng.standard_normal((n_q, d)), rng.standard_normal((n_k, d))
    k[rng.integers(n_k)] = 100 * q[rng.integers(n_q)]
    return Problem(q, k, rng.standard_normal((n_k, d_v)), scale=1.0)


def _equal(rng: Rng) -> Problem:
    n_q, n_k, d, d_v = _shape(rng)
    return Problem(np.ones((n_q, d)), np.tile(rng.standard_normal(d), (n_k, 1)), rng.standard_normal((n_k, d_v)))


def _large(rng: Rng) -> Problem:
    n_q, n_k, d, d_v = _shape(rng)
    q, k = rng.uniform(-1, 1, (n_q, d)), rng.uniform(-1, 1, (n_k, d))
    return Problem(1e4 / d * q, k, rng.standard_normal((n_k, d_v)), scale=1.0)


def _tiny(rng: Rng) -> Problem:
    n_q, n_k, d, d_v = _shape(rng)
    q, k, v = rng.standard_normal((n_q, d)), rng.standard_normal((n_k, d)), rng.standard_normal((n_k, d_v))
    return Problem(1e-160 * q, 1e-155 * k, 1e-312 * v)


def _single(rng: Rng) -> Problem:
    _, _, d, d_v = _shape(rng)
    return Problem(rng.standard_normal((1, d)), rng.standard_normal((1, d)), rng.standard_normal((1, d_v)))


def _thin(rng: Rng) -> Problem:
    n_q, n_k, _, _ = _shape(rng)
    q, k, v = (rng.standard_normal((n, 1)) for n in (n_q, n_k, n_k))
    return Problem(3 * q, k, v)


def _causal(rng: Rng) -> Problem:
    n_q, n_k, d, d_v = _shape(rng)
    alignment = ("top-left", "bottom-right")[int(rng.integers(2))]
    q, k = rng.standard_normal((n_q, d)), rng.standard_normal((n_k, d))
    return Problem(q, k, rng.standard_normal((n_k, d_v)), causal=True, alignment=alignment)


def _masked(rng: Rng) -> Problem:
    n_q, n_k, d, d_v = _shape(rng)
    q, k = rng.standard_normal((n_q, d)), rng.standard_normal((n_k, d))
    return Problem(q, k, rng.standard_normal((n_k, d_v)), mask=rng.random((n_q, n_k)) < 0.6, scale=-0.75)


def _grouped(rng: Rng) -> Problem:
    _, n, d, d_v = _shape(rng)
    q, k = rng.standard_normal((4, n, d)), rng.standard_normal((2, n, d))
    return Problem(q, k, rng.standard_normal((2, n, d_v)), causal=bool(rng.integers(2)))


KINDS: dict[str, Callable[[Rng], Problem]] = {
    "normal": _normal,
    "needle": _needle,
    "equal logits": _equal,
    "logits to 10^4": _large,
    "tiny and subnormal": _tiny,
    "one token": _single,
    "one component": _thin,
    "causal": _causal,
    "masked": _masked,
    "grouped": _grouped,
}

MECHANISMS: tuple[tuple[str, int | None], ...] = (
    ("softmax", None),
    ("logexp", None),
    ("taylor", 0),
    ("taylor", 1),
    ("taylor", 2),
    ("taylor", 5),
    ("taylor", 12),
)


def campaign(count: int) -> Iterator[tuple[str, str, int | None, Any]]:
    """Yield (kind, mechanism, order, certificate) of the first `count` problems; CertificationError ends it."""
    for seed in range(count):
        kind = list(KINDS)[seed % len(KINDS)]
        mechanism, order = MECHANISMS[seed // len(KINDS) % len(MECHANISMS)]
        problem = KINDS[kind](np.random.default_rng(seed)).named(f"{kind}, seed {seed}")
        yield kind, mechanism, order, certify(problem, DIGITS, named(mechanism, order))


def sample_truths() -> Iterator[Reference]:
    """Yield every exact output of the sample with the largest logits: all mechanisms, Taylor to order 31."""
    problem = sample(SAMPLE)
    yield reference(problem, DIGITS)
    yield reference(problem, DIGITS, "logexp")
    yield from references(problem, [TAYLOR.member(order=order) for order in range(32)], DIGITS).values()


def last_tokens() -> Problem:
    """Return the sample with the last two queries of each head, which attend to nearly all keys."""
    p = sample(SAMPLE)
    return Problem(p.q[..., -2:, :], p.k, p.v, p.scale, p.causal, alignment="bottom-right", name=f"end of {p.name}")


def main() -> None:
    """Run the whole campaign and print what it did."""
    started, counts, elements, rational, widest = time.monotonic(), dict.fromkeys(KINDS, 0), 0, 0, 0.0
    for kind, _, _, certificate in campaign(FULL):
        counts[kind] += 1
        elements += certificate.elements
        rational += certificate.rational
        widest = max(widest, certificate.widest)
        if sys.stderr.isatty():
            print(f"\r{sum(counts.values())} of {FULL}", end="", file=sys.stderr, flush=True)
    for kind, count in counts.items():
        print(f"{count:6d} {kind}")
    print(f"{sum(counts.values())} problems certified to {DIGITS} digits in {time.monotonic() - started:.0f} s")
    print(f"{elements} elements hold the mpmath value, {rational} of them a rational interval too")
    print(f"widest ball: {widest:.1e} of its value")
    started = time.monotonic()
    truths = list(sample_truths())
    elements = sum(truth.value.size for truth in truths)
    zeros = sum(int(truth.absolute.sum()) for truth in truths)
    fewest, seconds = min(truth.digits for truth in truths), time.monotonic() - started
    print(f"sample:{SAMPLE}: {elements} elements of {len(truths)} exact outputs certified in {seconds:.0f} s")
    print(f"to at least {fewest} digits each, {zeros} essentially zero")
    ends = [certify(last_tokens(), DIGITS, named(*which)) for which in (*MECHANISMS, ("taylor", 31))]
    print(f"the last two tokens of each head: {sum(end.elements for end in ends)} elements hold the mpmath value")


if __name__ == "__main__":
    main()
