"""What no form changes: exact values of a member on some rows, the parts of errors that follow from them, weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verify.attention.contract import Member
from verify.measure.decomposition import exact_gap, least
from verify.measure.exact import Exact, Setting
from verify.measure.logits import LogitTally
from verify.measure.metrics import magnitudes
from verify.measure.portion import Portion
from verify.measure.tallies import BoundTally, ErrorTally, along_rows, by_rows, row_sizes
from verify.measure.weights import WeightTally, distance_edges
from verify.mechanisms.registry import baseline, null_prediction
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.arrays import BoolArray, Float64Array
from verify.truth import Reference


@dataclass(frozen=True, eq=False)
class Values:
    """Exact values [..., H, r, d_v] as arrays: |exact - value - residual| <= radius."""

    value: Float64Array
    residual: Float64Array
    radius: Float64Array

    @classmethod
    def of(cls, reference: Reference) -> Values:
        """Return the same of a reference."""
        return cls(reference.value, reference.residual, reference.radius)


@dataclass(frozen=True, eq=False)
class Ground:
    """What every cell on some rows is held against: exact softmax, and the conventional form in one arithmetic.

    attending: [H, r], rows that attend to something.  size, null: [H, r], by row the root mean square of the exact
    softmax output, and of how far the null prediction is from it.  total, rounding: [H, r], the errors of the
    conventional form.
    """

    attending: BoolArray
    size: Float64Array
    null: Float64Array
    total: Float64Array
    rounding: Float64Array

    @classmethod
    def joined(cls, parts: Sequence[Ground]) -> Ground:
        """Return the same of several blocks, in their order."""
        return cls(
            attending=along_rows([part.attending for part in parts]),
            size=along_rows([part.size for part in parts]),
            null=along_rows([part.null for part in parts]),
            total=along_rows([part.total for part in parts]),
            rounding=along_rows([part.rounding for part in parts]),
        )


@dataclass(frozen=True, eq=False)
class Background:
    """What is known of a member on some rows in one arithmetic, whatever form computes it.

    quantisation, formula: these parts of its error; formula is None for softmax itself.  bound: on the second, if one
    is known.  weights: beside those of softmax.  nonpositive, undefined: [H, r], rows whose exact sum of weights is not
    positive, or zero.  digits: certified ones of all exact values that errors are taken against, the least.
    without_digits: elements that have none.
    """

    quantisation: ErrorTally
    formula: ErrorTally | None
    bound: BoundTally | None
    weights: WeightTally
    nonpositive: BoolArray
    undefined: BoolArray
    digits: int
    without_digits: int

    @classmethod
    def joined(cls, parts: Sequence[Background]) -> Background:
        """Return the same of several blocks, in their order."""
        formulas = [part.formula for part in parts if part.formula is not None]
        bounds = [part.bound for part in parts if part.bound is not None]
        return cls(
            quantisation=ErrorTally.joined([part.quantisation for part in parts]),
            formula=ErrorTally.joined(formulas) if formulas else None,
            bound=BoundTally.joined(bounds) if bounds else None,
            weights=WeightTally.joined([part.weights for part in parts]),
            nonpositive=along_rows([part.nonpositive for part in parts]),
            undefined=along_rows([part.undefined for part in parts]),
            digits=min(part.digits for part in parts),
            without_digits=sum(part.without_digits for part in parts),
        )


class Backdrop:
    """Some rows of a problem, and what is found out there that no form changes.

    members: those that will be asked for; those of one mechanism share their work.  softmax: its exact value there, if
    it was found before.
    """

    def __init__(self, portion: Portion, members: Sequence[Member], softmax: Reference | None = None) -> None:
        self.portion = portion
        self.exact = Exact(portion.part, members, softmax)
        self._settings: dict[str, Setting] = {}
        self._weights: dict[Member, WeightTally] = {}

    def logits(self) -> LogitTally:
        """Return statistics of the logits."""
        return LogitTally.of(self.portion.part)

    def softmax(self) -> Values:
        """Return exact softmax; CertificationError where it has no certified value."""
        return Values.of(self.exact.truths.of_softmax())

    def own(self, member: Member, arithmetic: Arithmetic) -> Values:
        """Return the exact values of a member on inputs rounded to an arithmetic; raises what `background` does."""
        return Values.of(self._setting(arithmetic).decomposer.rounded.of(member))

    def ground(self, arithmetic: Arithmetic) -> Ground:
        """Return what every cell is held against; raises what `Setting` does."""
        setting, rows = self._setting(arithmetic), self.portion.part.attended_rows
        total, rounding = (by_rows(row_sizes(magnitudes(error))) for error in setting.baseline())
        truths = self.exact.truths
        null, _ = exact_gap((truths, null_prediction()), (truths, baseline().member))
        return Ground(
            attending=by_rows(rows),
            size=by_rows(row_sizes(np.abs(setting.softmax.value))),
            null=by_rows(row_sizes(magnitudes(null))),
            total=total,
            rounding=rounding,
        )

    def background(self, member: Member, arithmetic: Arithmetic) -> Background:
        """Return what is known of a member; raises what `Setting` and its exact values do, or MechanismError."""
        setting = self._setting(arithmetic)
        rows, format_ = self.portion.part.attended_rows, arithmetic.output
        gaps = setting.decomposer.gaps(member)
        softmax, own = setting.softmax, self.exact.truths.of(member)
        rounded = setting.decomposer.rounded.of(member)
        references = softmax, own, rounded
        error, doubt = gaps["quantisation"]
        quantisation = ErrorTally.of(error, rounded.value, own.value, doubt, rows, format_)
        formula = bound = None
        if "formula" in gaps:
            error, doubt = gaps["formula"]
            formula = ErrorTally.of(error, own.value, softmax.value, doubt, rows, format_)
            known = self.exact.formula_bound(member)
            if known is not None:
                bound = BoundTally.of(least(error, doubt), known, rows)
        return Background(
            quantisation=quantisation,
            formula=formula,
            bound=bound,
            weights=self._weights_of(member),
            nonpositive=by_rows(own.nonpositive_rows),
            undefined=by_rows(own.undefined_rows),
            digits=min(truth.digits for truth in references),
            without_digits=int(np.logical_or.reduce([truth.absolute for truth in references]).sum()),
        )

    def _setting(self, arithmetic: Arithmetic) -> Setting:
        if arithmetic.name not in self._settings:
            self._settings[arithmetic.name] = Setting(self.exact, arithmetic)
        return self._settings[arithmetic.name]

    def _weights_of(self, member: Member) -> WeightTally:
        if member not in self._weights:
            edges = distance_edges(self.portion.problem)
            self._weights[member] = WeightTally.of(self.portion.part, member, self.portion.rows.tolist(), edges)
        return self._weights[member]
