"""Small problems on which mechanisms are examined: a table, each case with a reason, and any number at random."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.numbers.arithmetic import ARITHMETICS, Arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem import Problem


@dataclass(frozen=True)
class Case:
    """A problem, why it is there, and whether it is plain: exact values then exist, and float64 holds all on the way.

    Elsewhere a mechanism may be undefined, and a form may overflow where its bound says so.
    """

    problem: Problem
    reason: str
    plain: bool = True

    @property
    def name(self) -> str:
        """The problem's name."""
        return self.problem.name


def _cases() -> Iterator[Case]:
    rng = np.random.default_rng(51)

    def normal(*shape: int) -> Float64Array:
        return rng.standard_normal(shape)

    def case(reason: str, problem: Problem, plain: bool = True) -> Case:
        return Case(problem, reason, plain)

    yield case("the scale 1/sqrt(4) is exact", Problem(normal(5, 4), normal(5, 4), normal(5, 4), name="plain"))
    yield case(
        "d_v is not d_k, and 1/sqrt(3) is irrational",
        Problem(normal(4, 3), normal(4, 3), normal(4, 2), name="values of another size"),
    )
    yield case(
        "a query sees what stands before it, the first one key only",
        Problem(normal(6, 3), normal(6, 3), normal(6, 2), causal=True, name="causal"),
    )
    yield case(
        "two queries read one key head; a leading dimension",
        Problem(normal(2, 4, 3, 2), normal(2, 2, 3, 2), normal(2, 2, 3, 1), name="batch of grouped heads"),
    )
    yield case(
        "causal chunks of heads that share keys",
        Problem(normal(4, 4, 2), normal(2, 4, 2), normal(2, 4, 2), causal=True, name="causal, grouped heads"),
    )
    yield case("n_q < n_k", Problem(normal(2, 3), normal(5, 3), normal(5, 2), name="fewer queries than keys"))
    yield case(
        "a context that is continued: the last query sees all",
        Problem(
            normal(3, 2), normal(5, 2), normal(5, 2), causal=True, alignment="bottom-right", name="continued context"
        ),
    )
    yield case(
        "n_q > n_k, queries at their own index",
        Problem(
            normal(5, 2), normal(3, 2), normal(3, 2), causal=True, alignment="top-left", name="queries beyond keys"
        ),
    )
    yield case(
        "rows that see some keys, and one that sees none and is zero",
        Problem(
            normal(4, 3), normal(4, 3), normal(4, 2), mask=np.tri(4, k=-1, dtype=bool), name="mask with an empty row"
        ),
    )
    yield case(
        "a mask for each head, and causal as well",
        Problem(
            normal(2, 4, 2),
            normal(1, 4, 2),
            normal(1, 4, 2),
            causal=True,
            mask=rng.random((2, 4, 4)) < 0.8,
            name="mask and causal",
        ),
    )
    yield case(
        "more keys than any mechanism treats apart", Problem(normal(1, 2), normal(40, 2), normal(40, 1), name="40 keys")
    )
    yield case("one pair, one component", Problem(normal(1, 1), normal(1, 1), normal(1, 1), name="one token"))
    yield case("all weights are equal", Problem(np.ones((3, 3)), np.ones((3, 3)), normal(3, 2), name="equal logits"))
    yield case(
        "a scale that is given, and no power of two",
        Problem(normal(4, 2), normal(4, 2), normal(4, 2), scale=0.3, name="given scale"),
    )
    yield case(
        "v is large and nearly constant: errors are relative to its differences",
        Problem(normal(4, 2), normal(4, 2), 1000.0 + normal(4, 2), name="values with a large mean"),
    )
    yield case(
        "no key is seen: all is zero",
        Problem(normal(3, 2), normal(0, 2), normal(0, 1), name="no keys"),
    )
    yield case(
        "logits are capped, and something is added to them",
        Problem(
            *(2 * normal(2, 4, 2), normal(1, 4, 2), normal(1, 4, 2)),
            causal=True,
            softcap=2.0,
            bias=normal(2, 1, 4),
            alibi_slopes=[0.5, 0.25],
            name="soft cap, bias and slopes",
        ),
    )
    yield case(
        "a weight without a value, and weights that are dropped",
        Problem(
            *(normal(2, 4, 2), normal(2, 4, 2), normal(2, 4, 2)),
            sinks=[0.5, -1.0],
            dropout_mask=rng.random((2, 4, 4)) < 0.6,
            dropout=0.25,
            name="sinks and dropout",
        ),
    )
    yield case(
        "a window over contexts of several lengths",
        Problem(
            *(normal(2, 1, 3, 2), normal(2, 1, 5, 2), normal(2, 1, 5, 2)),
            causal=True,
            window=(1, 0),
            lengths=[5, 3],
            alignment="bottom-right",
            name="window and lengths",
        ),
    )
    yield case(
        "padding, and queries that continue contexts of several lengths",
        Problem(
            *(normal(3, 2, 2, 2), normal(3, 1, 6, 2), normal(3, 1, 6, 2)),
            causal=True,
            lengths=[6, 3, 0],
            mask=rng.random((3, 1, 1, 6)) < 0.7,
            alignment="bottom-right",
            name="padding",
        ),
    )
    yield case(
        "several contexts one after the other",
        Problem(*(normal(6, 2), normal(6, 2), normal(6, 2)), causal=True, segments=[0, 0, 1, 1, 1, 2], name="segments"),
    )
    yield case("nothing is asked", Problem(normal(0, 2), normal(3, 2), normal(3, 1), name="no queries"))
    yield case(
        "logits up to 20 in size, of either sign",
        Problem(4 * normal(5, 4), 4 * normal(5, 4), normal(5, 3), scale=0.5, name="large logits"),
        plain=False,
    )
    yield case(
        "one key has all the weight of exp; features overflow or underflow",
        Problem(300.0 * np.eye(3), np.eye(3), normal(3, 2), scale=1.0, name="one logit of 300"),
        plain=False,
    )
    yield case(
        "logits vanish, v is subnormal",
        Problem(1e-300 * normal(3, 2), normal(3, 2), 1e-310 * normal(3, 2), name="tiny and subnormal"),
        plain=False,
    )
    yield case("q and k are zero", Problem(np.zeros((2, 2)), np.zeros((3, 2)), normal(3, 2), name="zeros"))
    yield case("a scale of zero", Problem(normal(3, 2), normal(3, 2), normal(3, 1), scale=0.0, name="zero scale"))
    yield case(
        "a scale below zero has no root",
        Problem(normal(3, 2), normal(3, 2), normal(3, 1), scale=-0.75, name="negative scale"),
    )
    yield case(
        "all logits are about -5: polynomials of odd order are negative there",
        Problem(2 + 0.1 * normal(3, 2), -2 + 0.1 * normal(3, 2), normal(3, 2), name="negative logits"),
    )


def _longer() -> Iterator[Case]:
    rng = np.random.default_rng(55)

    def problem(name: str, queries: int, keys: int, head_size: int, value_size: int, **named: Any) -> Problem:
        shapes = (queries, head_size), (keys, head_size), (keys, value_size)
        q, k, v = (rng.standard_normal(shape) for shape in shapes)
        return Problem(q, k, v, name=name, **named)

    yield Case(problem("40 tokens", 40, 40, 3, 2), "each of many queries, and each of many keys, counts")
    yield Case(problem("40 tokens, causal", 40, 40, 2, 3, causal=True), "chunks of 16 tokens, and what is left of them")
    apart = np.arange(40)[:, None] - np.arange(40)
    window = (apart >= 0) & (apart < 9)
    yield Case(problem("40 tokens, a window of 9", 40, 40, 2, 1, mask=window), "tokens leave as others come")
    q, k, v = (rng.standard_normal(shape) for shape in ((3, 3, 7, 2), (3, 1, 7, 2), (3, 1, 7, 5)))
    yield Case(
        Problem(q, k, v, scale=0.4, causal=True, name="batch of three heads over one, causal"),
        "three queries for each key, a batch of three, a scale, d_v > d_k",
    )
    mask = rng.random((3, 3, 7, 7)) < 0.7
    yield Case(
        Problem(q[:, 0], k[:, 0], v[:, 0], mask=mask[:, 0], name="three heads, masked"),
        "more than two key heads, a mask for each",
    )
    yield Case(
        Problem(q, k, v, mask=mask, name="batch of three heads over one, masked"), "a mask for each head of a batch"
    )
    mask = rng.random((9, 6)) < 0.7
    yield Case(
        problem("queries beyond keys, masked", 9, 6, 2, 2, causal=True, mask=mask, alignment="top-left"),
        "n_q > n_k, causal and a mask",
    )
    sizes = (2, 2, 2, 3, 2), (2, 2, 1, 3, 2), (2, 2, 1, 3, 9)
    q, k, v = (rng.standard_normal(size) for size in sizes)
    yield Case(Problem(q, k, v, name="two leading dimensions"), "two dimensions before the heads, and nine values")
    yield Case(
        problem("more queries than keys, aligned at the end", 9, 6, 2, 2, causal=True, alignment="bottom-right"),
        "n_q > n_k, where the first queries see nothing",
    )
    yield Case(
        problem("fewer queries than keys, aligned at the start", 4, 9, 2, 2, causal=True, alignment="top-left"),
        "n_q < n_k, where the last keys are seen by nobody",
    )
    yield Case(
        problem("a continued context of 40", 20, 40, 2, 2, causal=True, alignment="bottom-right"),
        "a longer context that is continued",
    )
    yield Case(
        problem("530 keys", 3, 530, 2, 1), "more keys than any shipped form or state takes at once, which is 128 or 512"
    )
    yield Case(problem("133 tokens, causal", 133, 133, 2, 1, causal=True), "more causal tokens than 128")


CASES = tuple(_cases())

# Contexts that are longer, on which forms are examined and nothing else is.
LONGER = tuple(_longer())


def random_cells(count: int, seed: int = 0) -> Iterator[tuple[Problem, Arithmetic]]:
    """Yield problems of many kinds, each with inputs that an arithmetic holds, every arithmetic in turn.

    n_q and n_k up to 8, d_k up to 4; logits from 0.01 to 10 in size; v of any size and mean; scales of either sign;
    causal or not; masks; grouped heads.
    """
    arithmetics = tuple(ARITHMETICS.values())
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        arithmetic = arithmetics[number % len(arithmetics)]
        yield _random(rng).rounded(arithmetic.inputs).named(f"random problem {number}"), arithmetic


def _random(rng: np.random.Generator) -> Problem:
    n_q, n_k, d, d_v = (int(x) for x in rng.integers(1, (5, 9, 5, 4)))
    causal, masked, grouped = (bool(x) for x in rng.random(3) < (0.4, 0.2, 0.2))
    n_q = n_k if causal else n_q
    heads, groups = ((2,), (1,)) if grouped else ((), ())
    q = rng.standard_normal((*heads, n_q, d)) * 10.0 ** rng.uniform(-2, 0.6)
    k = rng.standard_normal((*groups, n_k, d)) * 10.0 ** rng.uniform(-1, 0.3)
    v = rng.standard_normal((*groups, n_k, d_v)) * 10.0 ** rng.uniform(-3, 1.5) + rng.choice([0.0, 0.0, 5.0])
    scale = None if rng.random() < 0.6 else float(rng.choice([1.0, 0.3, -0.5]))
    mask = rng.random((n_q, n_k)) < 0.7 if masked else None
    return Problem(q, k, v, scale=scale, causal=causal, mask=mask)
