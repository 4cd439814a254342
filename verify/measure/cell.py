"""The errors of a cell: a variant in an arithmetic, run and held against what is known on some rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.attention.contract import Member
from verify.attention.hazards import Hazards
from verify.attention.strips import Computed, run_rows
from verify.attention.variant import Variant
from verify.errors import ViolatedBoundError
from verify.measure.background import Backdrop, Background, Ground, Values
from verify.measure.decomposition import least
from verify.measure.exact import require_attending
from verify.measure.logits import LogitTally
from verify.measure.metrics import computed_error, doubt_of, ratio, root_mean_square, skill
from verify.measure.portion import BLOCK_PAIRS, Portion, measured_rows, portions
from verify.measure.summary import BoundSummary, ErrorSummary, HeadSummary, RowSummary, WeightSummary
from verify.measure.tallies import BoundTally, ErrorTally, OutputTally
from verify.measure.weights import distance_edges
from verify.numbers.arithmetic import Arithmetic, named_arithmetic
from verify.numbers.arrays import BoolArray, Float64Array
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
    """What was measured of one cell; `verify.sweep.record.Record` says what each member means."""

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


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came out of a variant on some rows.

    total, rounding: these parts of its error.  sure, probable: bounds on the second, if there are.  output: its rows
    beside those of exact softmax.
    """

    total: ErrorTally
    rounding: ErrorTally
    sure: BoundTally | None
    probable: BoundTally | None
    output: OutputTally

    @classmethod
    def joined(cls, parts: Sequence[Outcome]) -> Outcome:
        """Return the outcome on several blocks, in their order."""
        sure = [part.sure for part in parts if part.sure is not None]
        probable = [part.probable for part in parts if part.probable is not None]
        return cls(
            total=ErrorTally.joined([part.total for part in parts]),
            rounding=ErrorTally.joined([part.rounding for part in parts]),
            sure=BoundTally.joined(sure) if sure else None,
            probable=BoundTally.joined(probable) if probable else None,
            output=OutputTally.joined([part.output for part in parts]),
        )


def computed(
    variant: Variant, problem: Problem, rows: NDArray[np.int64], arithmetic: Arithmetic, memory: int | None = None
) -> Computed:
    """Run a variant for some rows, counting what it can count; raises what `Variant.run` does.

    memory: bytes that it may take, if it says what it needs; None for its own limit.
    """
    known: dict[str, Any] = {"watch": True, "memory_limit": memory}
    limits = {name: value for name, value in known.items() if name in variant.how.limits and value is not None}
    return run_rows(variant, problem, rows.tolist(), arithmetic, **limits)


def outcome(
    variant: Variant, portion: Portion, arithmetic: Arithmetic, value: NDArray[np.generic], softmax: Values, own: Values
) -> Outcome:
    """Hold computed rows, value [..., H, r, d_v], against exact softmax and the member's own values."""
    found, rows, format_ = value.astype(np.float64), portion.part.attended_rows, arithmetic.output
    total, rounding = computed_error(found, softmax), computed_error(found, own)
    doubts = doubt_of(total, softmax.radius), doubt_of(rounding, own.radius)
    rounded = portion.problem.rounded(arithmetic.inputs)
    bound = variant.rounding_bound(rounded, own.value, arithmetic, portion.rows)
    sure = probable = None
    if bound is not None:
        sure, probable = (
            BoundTally.of(least(rounding, doubts[1]), array, rows) for array in (bound.sure, bound.probable)
        )
    return Outcome(
        total=ErrorTally.of(total, found, softmax.value, doubts[0], rows, format_),
        rounding=ErrorTally.of(rounding, found, own.value, doubts[1], rows, format_),
        sure=sure,
        probable=probable,
        output=OutputTally.of(found, total, softmax.value, rows, portion.rows, portion.problem.queries),
    )


def measurement(
    problem: Problem,
    rows: NDArray[np.int64],
    ground: Ground,
    background: Background,
    outcome: Outcome,
    logits: LogitTally,
    hazards: Hazards,
) -> Measurement:
    """Put together what was found out on all rows that are measured, block after block.

    Raises ViolatedBoundError if an error exceeds a bound that is sure.
    """
    seen = ground.attending
    size = root_mean_square(ground.size[seen])
    tallies = {"formula": background.formula, "rounding": outcome.rounding, "quantisation": background.quantisation}
    parts = {name: tally for name, tally in (tallies | {"total": outcome.total}).items() if tally is not None}
    bounds = {"rounding": outcome.sure, "rounding_probable": outcome.probable, "formula": background.bound}
    known = {name: tally.summary(seen, size) for name, tally in bounds.items() if tally is not None}
    for name, bound in known.items():
        if name != "rounding_probable" and bound.share > 1.0:
            raise ViolatedBoundError(f"the error of {name} is {bound.share:.3g} times its bound")
    total, null, conventional = (
        root_mean_square(array[seen]) for array in (outcome.total.size, ground.null, ground.total)
    )
    return Measurement(
        errors={name: tally.summary(seen, size) for name, tally in parts.items()},
        bounds=known,
        skill=skill(total, null),
        softmax_ratio=ratio(total, conventional),
        softmax_rounding=ratio(root_mean_square(ground.rounding[seen]), size) or 0.0,
        per_head=tuple(_heads(problem, ground, parts, background, logits)),
        histogram=outcome.output.histogram,
        output_rows=outcome.output.summary(seen, outcome.total.size, rows),
        weights=background.weights.summary(seen, distance_edges(problem)),
        hazards=hazards,
        nonpositive_exact=int(background.nonpositive.sum()),
        undefined=int(background.undefined.sum()),
        digits=background.digits,
        without_digits=background.without_digits,
    )


def _heads(
    problem: Problem, ground: Ground, parts: dict[str, ErrorTally], background: Background, logits: LogitTally
) -> list[HeadSummary]:
    """Return the errors of each head that attends to something, relative to its own exact output."""
    found = []
    for place, index in enumerate(np.ndindex(*problem.q.shape[:-2])):
        own: BoolArray = ground.attending[place]
        if not own.any():
            continue
        size = root_mean_square(ground.size[place][own])

        def relative(rows: Float64Array, own: BoolArray = own, place: int = place, size: float = size) -> float:
            return ratio(root_mean_square(rows[place][own]), size) or 0.0

        found.append(
            HeadSummary(
                head=index,
                largest_logit=float(logits.largest[place].max()),
                rows=int(own.sum()),
                nonpositive=int(background.nonpositive[place].sum()),
                formula=relative(parts["formula"].size) if "formula" in parts else None,
                rounding=relative(parts["rounding"].size),
                quantisation=relative(parts["quantisation"].size),
                total=relative(parts["total"].size),
                softmax_rounding=relative(ground.rounding),
            )
        )
    return found


def measured(problem: Problem, cell: Cell, *, sample: int | None = None, block_pairs: int = BLOCK_PAIRS) -> Measurement:
    """Measure one cell in this process, block after block.

    sample: how many rows, all by default.  block_pairs: the size of blocks, which changes nothing.  Raises
    InvalidRequestError if nothing is attended, and what `Setting`, exact values, `Variant.run` and `measurement` do.

        measured(problem, Cell(named_variant("taylor:order=3/packed"), "float32")).errors["total"].relative
    """
    require_attending(problem)
    arithmetic, rows = named_arithmetic(cell.arithmetic), measured_rows(problem, sample)
    output = computed(cell.variant, problem, rows, arithmetic)
    grounds, backgrounds, outcomes, logits = [], [], [], []
    first = 0
    for portion in portions(problem, rows, block_pairs):
        backdrop = Backdrop(portion, [cell.member])
        exact = backdrop.softmax(), backdrop.own(cell.member, arithmetic)
        last = first + len(portion.rows)
        outcomes.append(outcome(cell.variant, portion, arithmetic, output.value[..., first:last, :], *exact))
        grounds.append(backdrop.ground(arithmetic))
        backgrounds.append(backdrop.background(cell.member, arithmetic))
        logits.append(backdrop.logits())
        first = last
    return measurement(
        problem,
        rows,
        Ground.joined(grounds),
        Background.joined(backgrounds),
        Outcome.joined(outcomes),
        LogitTally.joined(logits),
        output.hazards,
    )
