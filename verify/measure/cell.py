"""From a problem to the errors of a cell: exact values once, then every variant against them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from time import perf_counter
from typing import Any

import numpy as np

from verify.attention.computed import AttentionOutput
from verify.attention.contract import Member
from verify.attention.cost import Cost
from verify.attention.hazards import Hazards
from verify.attention.variant import Variant
from verify.bounds.outputs import RoundingBound
from verify.errors import InvalidRequestError, MechanismError, ViolatedBoundError
from verify.measure.decomposition import Decomposer, Decomposition, Truths, exact_gap
from verify.measure.metrics import largest_logits, magnitudes, ratio, root_mean_square, skill
from verify.measure.summarising import compare_rows, histogram, summarise, summarise_bound
from verify.measure.summary import BoundSummary, ErrorSummary, HeadSummary, RowSummary, WeightSummary
from verify.measure.weights import compare_weights
from verify.mechanisms.registry import baseline, null_prediction
from verify.numbers.arithmetic import Arithmetic, named_arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem import Problem


@dataclass(frozen=True)
class Cell:
    """One measurement on one input: a variant in an arithmetic.

    Cell(named_variant("taylor:order=3/packed"), "float32")
    """

    variant: Variant
    arithmetic: str

    @property
    def member(self) -> Member:
        """The mechanism with its parameters."""
        return self.variant.member


@dataclass(frozen=True)
class Measurement:
    """What was measured of one cell; `verify.sweep.record.Record` says what each member means.

    seconds: that computing the output took, once, with everything that was counted on the way.
    """

    errors: dict[str, ErrorSummary]
    bounds: dict[str, BoundSummary]
    skill: float | None
    softmax_ratio: float | None
    softmax_rounding: float
    per_head: tuple[HeadSummary, ...]
    histogram: tuple[tuple[int, int], ...]
    output_rows: RowSummary
    weights: WeightSummary
    hazards: Hazards
    nonpositive_exact: int
    undefined: int
    digits: int
    without_digits: int
    cost: Cost
    seconds: float


@dataclass(frozen=True, eq=False)
class CellErrors:
    """The computed output of a variant, its error part by part, and bounds on two of the parts; None if unknown.

    seconds: that computing the output took.
    """

    output: AttentionOutput
    found: Decomposition
    rounding: RoundingBound | None
    formula: Float64Array | None
    seconds: float


def require_attending(problem: Problem) -> None:
    """Raise InvalidRequestError for a problem in which there is nothing to measure."""
    if not problem.attended_rows.any():
        raise InvalidRequestError(
            f"{problem.name} in which no query attends to any key", "at least one attended key", "check mask and shapes"
        )


class Exact:
    """One problem with what no arithmetic changes: exact values, weights, and bounds on errors of formulas.

    members: those that will be asked for.
    """

    def __init__(self, problem: Problem, members: Iterable[Member]) -> None:
        self.problem = problem
        self.truths = Truths(problem, members)
        self.weights = cache(lambda member: compare_weights(problem, member))
        self.formula_bound = cache(self._formula_bound)
        self.null_error = cache(self._null_error)
        self.largest_logits = cache(lambda: largest_logits(problem))

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

    def _null_error(self) -> Float64Array:
        """Return the error of predicting the mean of the attended v, over the rows that attend to something."""
        pair = (self.truths, null_prediction()), (self.truths, baseline().member)
        return np.asarray(exact_gap(*pair)[0][self.problem.attended_rows])


class Setting:
    """One problem in one arithmetic: what every cell in it is compared with.

    Raises InvalidRequestError if nothing is attended or the inputs overflow the arithmetic, CertificationError if
    softmax has no certified value.
    """

    def __init__(self, exact: Exact, arithmetic: str | Arithmetic) -> None:
        arithmetic = named_arithmetic(arithmetic)
        require_attending(exact.problem)
        self.exact = exact
        self.arithmetic = arithmetic
        self.rows = exact.problem.attended_rows
        rounded = exact.problem.rounded(arithmetic.inputs)
        truths = exact.truths
        same = rounded is exact.problem
        self.decomposer = Decomposer(truths, truths if same else Truths(rounded, truths.members))
        self.softmax = truths.of_softmax()
        self.size = root_mean_square(np.abs(self.softmax.value[self.rows]))
        self.baseline = cache(self._baseline)

    def _baseline(self) -> tuple[Float64Array, Float64Array]:
        """Return the total and the rounding error of conventional attention in this arithmetic."""
        conventional = baseline()
        output = conventional.run(self.exact.problem, self.arithmetic)
        parts = self.decomposer.of(output.value, conventional.member).parts
        return parts["total"].error, parts["rounding"].error

    def _relative(self, error: Float64Array, head: tuple[int, ...] = ()) -> float:
        """Return an error over that of the exact softmax output, of one head or all, by root mean square."""
        rows = self.rows[head]
        size = self.size if head == () else root_mean_square(np.abs(self.softmax.value[head][rows]))
        # no error at all is none of anything
        return ratio(root_mean_square(magnitudes(error[head][rows])), size) or 0.0

    def errors(self, variant: Variant, **limits: Any) -> CellErrors:
        """Compute a variant and return its errors, element by element, beside their bounds."""
        started = perf_counter()
        output = variant.run(self.exact.problem, self.arithmetic, **limits)
        seconds = perf_counter() - started
        found = self.decomposer.of(output.value, variant.member)
        rounding = variant.rounding_bound(self.decomposer.rounded.problem, found.rounded_own.value, self.arithmetic)
        return CellErrors(output, found, rounding, self.exact.formula_bound(variant.member), seconds)

    def measurement(self, variant: Variant) -> Measurement:
        """Return errors, bounds, hazards, costs and certified digits of one cell.

        Raises ViolatedBoundError if an error exceeds a bound that is sure.
        """
        member, rows = variant.member, self.rows
        watch = {"watch": True} if "watch" in variant.how.limits else {}
        cell = self.errors(variant, **watch)
        found = cell.found
        total = found.parts["total"]
        conventional = self.baseline()
        return Measurement(
            errors={
                name: summarise(
                    part.error[rows],
                    part.found[rows],
                    part.origin[rows],
                    self.size,
                    self.arithmetic.output,
                    part.doubt[rows],
                )
                for name, part in found.parts.items()
            },
            bounds=self._bounds(cell),
            skill=skill(total.error[rows], self.exact.null_error()),
            softmax_ratio=ratio(*(root_mean_square(magnitudes(e[rows])) for e in (total.error, conventional[0]))),
            softmax_rounding=self._relative(conventional[1]),
            per_head=tuple(self._head(head, found, conventional[1]) for head in self.exact.largest_logits()),
            histogram=histogram(total.error[rows]),
            output_rows=compare_rows(found.computed, total.error, found.softmax.value, rows),
            weights=self.exact.weights(member),
            hazards=cell.output.hazards,
            nonpositive_exact=int(found.own.nonpositive_rows.sum()),
            undefined=int(found.own.undefined_rows.sum()),
            digits=min(truth.digits for truth in found.references),
            without_digits=int(np.logical_or.reduce([truth.absolute for truth in found.references]).sum()),
            cost=variant.costs(self.exact.problem),
            seconds=cell.seconds,
        )

    def _head(self, head: tuple[int, ...], found: Decomposition, softmax_rounding: Float64Array) -> HeadSummary:
        errors = {name: self._relative(part.error, head) for name, part in found.parts.items()}
        return HeadSummary(
            head=head,
            largest_logit=self.exact.largest_logits()[head],
            rows=int(self.rows[head].sum()),
            nonpositive=int(found.own.nonpositive_rows[head].sum()),
            formula=errors.get("formula"),
            rounding=errors["rounding"],
            quantisation=errors["quantisation"],
            total=errors["total"],
            softmax_rounding=self._relative(softmax_rounding, head),
        )

    def _bounds(self, cell: CellErrors) -> dict[str, BoundSummary]:
        pairs: dict[str, tuple[str, Float64Array]] = {}
        if cell.rounding is not None:
            pairs["rounding"] = "rounding", cell.rounding.sure
            pairs["rounding_probable"] = "rounding", cell.rounding.probable
        if cell.formula is not None:
            pairs["formula"] = "formula", cell.formula
        bounds = {}
        for name, (part, bound) in pairs.items():
            error = cell.found.parts[part].least[self.rows]
            bounds[name] = summarise_bound(error, bound[self.rows], self.size)
            if name != "rounding_probable" and bounds[name].share > 1.0:
                raise ViolatedBoundError(f"the error of {part} is {bounds[name].share:.3g} times its bound")
        return bounds
