"""One table of small problems, each with a reason to be there; every mechanism and form is tested on all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from verify.attention import AttentionOutput, Variant
from verify.mechanisms import known, named_member
from verify.numbers.arithmetic import Arithmetic
from verify.problem import Problem

ORDERS = (0, 1, 2, 3, 7)


def _problems() -> Iterator[Problem]:
    rng = np.random.default_rng(2026)

    def normal(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return rng.standard_normal(shape)

    yield Problem(normal(6, 4), normal(6, 4), normal(6, 3), name="plain, d_v != d_k")
    yield Problem(normal(7, 3), normal(7, 3), normal(7, 3), causal=True, name="causal, odd head size")
    yield Problem(normal(1, 1), normal(1, 1), normal(1, 1), name="one token, one component")
    yield Problem(normal(2, 4, 5, 3), normal(2, 2, 5, 3), normal(2, 2, 5, 2), causal=True, name="batch, grouped heads")
    yield Problem(normal(3, 4), normal(6, 4), normal(6, 4), name="fewer queries than keys")
    yield Problem(
        normal(3, 4), normal(6, 4), normal(6, 4), causal=True, alignment="bottom-right", name="continued context"
    )
    yield Problem(
        normal(4, 2), normal(4, 2), normal(4, 2), mask=np.tri(4, k=-1, dtype=bool), name="mask with an empty row"
    )
    yield Problem(4 * normal(6, 4), 4 * normal(6, 4), normal(6, 4), scale=0.5, name="large logits, given scale")
    yield Problem(np.ones((4, 3)), np.ones((4, 3)), normal(4, 3), name="equal logits")
    yield Problem(300.0 * np.eye(4), np.eye(4), normal(4, 4), scale=1.0, name="needle: one logit of 300")
    yield Problem(1e-300 * normal(4, 3), normal(4, 3), 1e-310 * normal(4, 3), name="tiny and subnormal")
    yield Problem(
        normal(4, 3, 2),
        normal(2, 5, 2),
        normal(2, 5, 3),
        causal=True,
        mask=rng.random((4, 3, 5)) < 0.7,
        alignment="bottom-right",
        name="mask per head, shifted causal, grouped",
    )
    yield Problem(normal(5, 3), np.zeros((5, 3)), normal(5, 3), scale=0.0, name="no logits at all")


PROBLEMS = tuple(_problems())

# Exact values exist here too; no floating-point format can be asked for them.
EXTREME = (
    Problem([[1e200, 1.0, -1e200]], [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]], [[1.0], [0.0]], name="huge and cancelling"),
    Problem([[1e4], [-1e4]], [[1.0], [-1.0], [0.5]], [[1.0], [-1e-3], [7.0]], scale=1.0, name="logits of ten thousand"),
    Problem([[2.0, 1.0]], [[1.0, 1.0], [0.5, -0.5]], [[3.0], [-1.0]], scale=-1.5, name="negative scale"),
)

every_problem = pytest.mark.parametrize("problem", [*PROBLEMS, *EXTREME], ids=lambda problem: problem.name)
MECHANISM_ORDERS = [("softmax", None), ("logexp", None), *[("taylor", order) for order in ORDERS]]
every_mechanism = pytest.mark.parametrize(
    ("mechanism", "order"), MECHANISM_ORDERS, ids=lambda x: "" if x is None else str(x)
)


def named(mechanism: str, order: int | None) -> str:
    """Return the name of a member, as every function that takes one understands it."""
    return mechanism if order is None else f"{mechanism}:order={order}"


def variant(mechanism: str, form: str, order: int | None = None, **options: Any) -> Variant:
    """Return a form of a member with options."""
    return Variant(named_member(named(mechanism, order)), form, tuple(options.items()))


def run(
    mechanism: str,
    form: str,
    problem: Problem,
    arithmetic: Arithmetic,
    order: int | None = None,
    *,
    limits: dict[str, Any] | None = None,
    **options: Any,
) -> AttentionOutput:
    """Compute a form of a member on a problem in an arithmetic."""
    return variant(mechanism, form, order, **options).run(problem, arithmetic, **(limits or {}))


# Every form of the three mechanisms that have forms of their own.
FORMS = [
    (mechanism, form.name)
    for mechanism in ("softmax", "logexp", "taylor")
    for form in known().mechanism(mechanism).forms
]
