"""Exact values of one problem, and what they are compared with in one arithmetic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from verify.attention.computed import AttentionOutput
from verify.attention.contract import Member
from verify.attention.strips import run_rows
from verify.attention.variant import Variant
from verify.bounds.outputs import RoundingBound
from verify.errors import InvalidRequestError, MechanismError
from verify.measure.decomposition import Decomposer, Decomposition, Truths
from verify.mechanisms.registry import baseline
from verify.numbers.arithmetic import Arithmetic, named_arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem import Problem
from verify.truth import Reference


@dataclass(frozen=True, eq=False)
class CellErrors:
    """The computed output of a variant, its error part by part, and bounds on two of the parts; None if unknown."""

    output: AttentionOutput
    found: Decomposition
    rounding: RoundingBound | None
    formula: Float64Array | None


def require_attending(problem: Problem) -> None:
    """Raise InvalidRequestError for a problem in which there is nothing to measure."""
    if not problem.attended_rows.any():
        raise InvalidRequestError(
            f"{problem.name} in which no query attends to any key", "at least one attended key", "check mask and shapes"
        )


class Exact:
    """One problem with what no arithmetic changes: exact values, and bounds on errors of formulas.

    members: those that will be asked for.  softmax: its exact value, if it was found before.
    """

    def __init__(self, problem: Problem, members: Iterable[Member], softmax: Reference | None = None) -> None:
        self.problem = problem
        self.truths = Truths(problem, members, softmax=softmax)
        self.formula_bound = cache(self._formula_bound)

    def _formula_bound(self, member: Member) -> Float64Array | None:
        """Return the bound on the error of a formula; MechanismError for what is no bound on every output."""
        found: Any = member.mechanism.formula_bound(self.problem, member)
        shape = self.problem.output_shape
        if found is None:
            return None
        if isinstance(found, np.ndarray) and found.shape == shape and (found >= 0.0).all():
            return np.asarray(found)
        given = f"shape {list(np.shape(found))}" if np.shape(found) != shape else f"type {type(found).__name__}, or NaN"
        raise MechanismError(
            f"formula_bound() of {member.name} of {given}", f"numbers of at least 0, {list(shape)}, or None", "mend it"
        )


class Setting:
    """One problem in one arithmetic: what every cell in it is compared with.

    Raises InvalidRequestError if the inputs overflow the arithmetic, CertificationError if
    softmax has no certified value.
    """

    def __init__(self, exact: Exact, arithmetic: str | Arithmetic) -> None:
        arithmetic = named_arithmetic(arithmetic)
        self.exact = exact
        self.arithmetic = arithmetic
        rounded = exact.problem.rounded(arithmetic.inputs)
        truths = exact.truths
        same = rounded is exact.problem
        self.decomposer = Decomposer(truths, truths if same else Truths(rounded, truths.members))
        self.softmax = truths.of_softmax()
        self.baseline = cache(self._baseline)

    def _baseline(self) -> tuple[Float64Array, Float64Array]:
        """Return the total and the rounding error of conventional attention in this arithmetic."""
        conventional, problem = baseline(), self.exact.problem
        output = run_rows(conventional, problem, range(problem.queries), self.arithmetic)
        parts = self.decomposer.of(output.value, conventional.member).parts
        return parts["total"].error, parts["rounding"].error

    def errors(self, variant: Variant, **limits: Any) -> CellErrors:
        """Compute a variant and return its errors, element by element, beside their bounds."""
        output = variant.run(self.exact.problem, self.arithmetic, **limits)
        found = self.decomposer.of(output.value, variant.member)
        rounding = variant.rounding_bound(self.decomposer.rounded.problem, found.rounded_own.value, self.arithmetic)
        return CellErrors(output, found, rounding, self.exact.formula_bound(variant.member))
