"""Forms that are wrong for some shapes only are rejected: alignments, masks, heads, batches, wide values."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from verify.attention import AttentionOutput, Form
from verify.conformance.mechanism import findings_of
from verify.families.feature.forms import pairs
from verify.families.feature.kernel import FORMS
from verify.mechanisms.elu import Elu
from verify.problem import Problem


def altered(problem: Problem, **changes: Any) -> Problem:
    """Return a problem in which something is otherwise."""
    names = ("q", "k", "v", "scale", "causal", "mask", "alignment")
    return Problem(**{name: getattr(problem, name) for name in names} | changes)


def doubled(problem: Problem, where: Any) -> Problem:
    """Return a problem in which some values are twice as large."""
    v = problem.v.copy()
    v[where] *= 2
    return altered(problem, v=v)


# When a form is wrong, and for which other problem it then gives the answer.
FAULTS: dict[str, tuple[Callable[[Problem], bool], Callable[[Problem], Problem]]] = {
    "n_q > n_k at the end": (
        lambda p: p.causal and p.queries > p.keys and p.alignment == "bottom-right",
        lambda p: altered(p, alignment="top-left"),
    ),
    "n_q < n_k at the start": (
        lambda p: p.causal and p.queries < p.keys and p.alignment == "top-left",
        lambda p: altered(p, alignment="bottom-right"),
    ),
    "causal with a mask and n_q > n_k": (
        lambda p: p.causal and p.queries > p.keys and p.mask is not None,
        lambda p: altered(p, causal=False),
    ),
    "a longer context that is continued": (
        lambda p: p.causal and p.keys > 16 and p.queries < p.keys,
        lambda p: altered(p, causal=False),
    ),
    "the third key head": (lambda p: p.k.ndim == 3 and p.k.shape[0] > 2, lambda p: doubled(p, 2)),
    "a mask in a batch": (lambda p: p.mask is not None and p.q.ndim > 3, lambda p: altered(p, mask=None)),
    "three queries for each key": (
        lambda p: p.q.ndim > 2 and p.q.shape[-3] == 3 * p.k.shape[-3],
        lambda p: doubled(p, (0, 0)),
    ),
    "the fifth column": (lambda p: p.value_size > 4, lambda p: doubled(p, (..., 4))),
}


class Faulty(Elu):
    """elu with a form that is wrong somewhere."""

    name = "faulty"

    def __init__(self, fault: str | None) -> None:
        self.fault = fault
        self.forms: tuple[Form, ...] = (replace(FORMS[0], compute=self.compute),)

    def compute(self, problem: Problem, arithmetic: Any, member: Any) -> AttentionOutput:
        applies, other = FAULTS[self.fault] if self.fault is not None else (lambda p: False, lambda p: p)
        return pairs(other(problem) if applies(problem) else problem, arithmetic, member)


def verdicts(fault: str | None) -> list[str | None]:
    found = findings_of(Faulty(fault), cells=2, only=("forms",))
    return [finding.difference for finding in found]


def test_the_form_is_right_without() -> None:
    assert verdicts(None) == [None, None]


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_for_some_shapes_is_rejected(fault: str) -> None:
    declaration, forms = verdicts(fault)
    assert declaration is None
    # the case, the element or row of it that is wrong, and what it ought to be
    assert re.match(
        r"faulty/pairs on '.+': (element \[.*\] is .*, exactly .* off, and its bound|row \[.*\] sees no)", str(forms)
    )
