"""Every form of every mechanism, as a table: adding one is one entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from verify.arithmetic import Arithmetic
from verify.attention import logexp, softmax, taylor
from verify.attention.output import AttentionOutput
from verify.errors import InvalidRequestError
from verify.problem import Problem
from verify.truth.mechanisms import check_mechanism


@dataclass(frozen=True)
class Form:
    """One way to compute one mechanism; `compute` takes an order exactly where the mechanism does."""

    mechanism: str
    name: str
    description: str
    compute: Callable[..., AttentionOutput]

    def run(self, problem: Problem, arithmetic: Arithmetic, order: int | None = None) -> AttentionOutput:
        """Compute the problem in the arithmetic; InvalidRequestError for an order where none belongs, or none."""
        check_mechanism(self.mechanism, order)
        return self.compute(problem, arithmetic) if order is None else self.compute(problem, arithmetic, order)


FORMS = {
    (form.mechanism, form.name): form
    for form in (
        Form("softmax", "softmax", "conventional attention, shifted by the row maximum, two passes", softmax.softmax),
        Form("logexp", "quadratic", "softmax over log sum_i exp(q_i + k_i), every pair of tokens", logexp.quadratic),
        Form("taylor", "scores", "polynomial of the logits by Horner's rule, every pair of tokens", taylor.scores),
        Form("taylor", "packed", "symmetric monomial features and a running state, in chunks", taylor.packed),
    )
}


def named_form(mechanism: str, name: str) -> Form:
    """Return one form; InvalidRequestError lists the forms there are."""
    try:
        return FORMS[mechanism, name]
    except KeyError:
        known = [form for owner, form in FORMS if owner == mechanism]
        expected = f"one of {', '.join(known)}" if known else "a known mechanism"
        raise InvalidRequestError(
            f"form {name!r} of mechanism {mechanism!r}", expected, "choose one of these"
        ) from None
