"""Measure the cells of one input: exact values once, then every form against them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from verify.arithmetic import Arithmetic, named_arithmetic
from verify.attention import named_form
from verify.errors import AttnproofError, CertificationError, InvalidRequestError
from verify.inputs import InputSource
from verify.metrics import (
    computed_error,
    logit_statistics,
    magnitudes,
    ratio,
    root_mean_square,
    skill,
    summarise,
)
from verify.problem import Float64Array, Problem
from verify.sweep.record import Record, Status
from verify.sweep.spec import DIGITS, Cell
from verify.truth import Reference, difference, reference, taylor_references

# Differences of exact values are asked for more digits until their radius is this small a part of them, by root mean
# square, but not beyond this many digits: what is smaller than 10**-120 of the values is as good as nothing.
RESOLVED = 2.0**-30
MOST_DIGITS = 4 * DIGITS


@dataclass(frozen=True)
class Task:
    """The cells of one input still to be measured; blank describes the input as it was when the sweep was planned."""

    source: InputSource
    blank: Record
    cells: tuple[Cell, ...]


def measure(task: Task) -> list[tuple[Cell, Record]]:
    """Measure every cell of the task, linear algebra on one thread, so that results do not depend on how many run.

    Raises InvalidRequestError if the input cannot be read any more or has changed since the sweep was planned.
    """
    with threadpool_limits(limits=1):
        problem = task.source.load()
        if problem.digest != task.blank.digest:
            raise InvalidRequestError(
                f"{problem.name} changed while the sweep ran", "the same contents throughout", "run the sweep again"
            )
        return list(_measured(task, problem))


def blank_record(source: InputSource, problem: Problem) -> Record:
    """Return a record that describes the input and no result yet."""
    largest, spread = logit_statistics(problem)
    return Record(
        input=source.name,
        kind=source.kind,
        digest=problem.digest,
        head_size=problem.head_size,
        value_size=problem.value_size,
        queries=problem.queries,
        keys=problem.keys,
        heads=problem.heads,
        causal=problem.causal,
        scale=problem.scale,
        logit_std=source.logit_std,
        largest_logit=largest,
        measured_logit_std=spread,
        rows=int(problem.attended_rows.sum()),
    )


def ended(blank: Record, cell: Cell, status: Status, **results: Any) -> Record:
    """Return the record of a cell on the input that blank describes."""
    return dataclasses.replace(
        blank,
        mechanism=cell.mechanism,
        form=cell.form,
        order=cell.order,
        terms=None if cell.order is None else cell.order + 1,
        arithmetic=cell.arithmetic,
        status=status,
        **results,
    )


def _measured(task: Task, problem: Problem) -> Iterator[tuple[Cell, Record]]:
    truth = _Truth(problem, sorted({cell.order for cell in task.cells if cell.order is not None}))
    settings: dict[str, _Setting | Exception] = {}
    for cell in task.cells:
        if cell.arithmetic not in settings:
            settings[cell.arithmetic] = _setting(truth, cell.arithmetic)
        setting = settings[cell.arithmetic]
        try:
            if isinstance(setting, Exception):
                raise setting
            record = ended(task.blank, cell, Status.OK, **setting.measure(cell))
        except CertificationError as error:
            record = ended(task.blank, cell, Status.FAILED, reason=str(error))
        except AttnproofError as error:
            record = ended(task.blank, cell, Status.REFUSED, reason=str(error))
        except Exception as error:  # whatever broke, it broke this cell and not its neighbours
            record = ended(task.blank, cell, Status.CRASHED, reason=f"{type(error).__name__}: {error}")
        yield cell, record


class _Truth:
    """The exact values of one problem, each found when first asked for; Taylor in one pass over all orders."""

    def __init__(self, problem: Problem, orders: Sequence[int]) -> None:
        self.problem = problem
        self.orders = orders
        self._found: dict[tuple[str, int | None], Reference | CertificationError] = {}

    def of(self, mechanism: str, order: int | None = None) -> Reference:
        """Return the exact value of a mechanism; CertificationError, each time, where there is none."""
        if (mechanism, order) not in self._found:
            self._find(mechanism, order)
        found = self._found[mechanism, order]
        if isinstance(found, CertificationError):
            raise found
        return found

    def _find(self, mechanism: str, order: int | None) -> None:
        try:
            if order in self.orders:
                every = taylor_references(self.problem, self.orders, DIGITS)
                self._found.update({(mechanism, p): exact for p, exact in every.items()})
                return
        except CertificationError:
            pass  # one of the orders is at fault, perhaps not this one
        try:
            self._found[mechanism, order] = reference(self.problem, DIGITS, mechanism, order)
        except CertificationError as error:
            self._found[mechanism, order] = error


_Which = tuple[_Truth, str, int | None]  # the exact value of a mechanism, at an order, on a problem


def _gap(one: _Which, other: _Which) -> Float64Array:
    """Return one - other, right to 30 bits by root mean square; 0 where MOST_DIGITS do not tell the two apart."""
    digits = DIGITS
    pair = [truth.of(mechanism, order) for truth, mechanism, order in (one, other)]
    while True:
        value, radius = difference(*pair)
        defined = np.isfinite(value)
        size, doubt = (root_mean_square(np.abs(array[defined])) for array in (value, radius))
        if doubt <= RESOLVED * size:
            return value
        digits *= 2
        if digits > MOST_DIGITS:
            return np.where(np.isfinite(value), 0.0, value)
        pair = [reference(truth.problem, digits, mechanism, order) for truth, mechanism, order in (one, other)]


def _setting(truth: _Truth, arithmetic: str) -> _Setting | Exception:
    try:
        return _Setting(truth, named_arithmetic(arithmetic))
    except Exception as error:  # raised again for every cell in this arithmetic
        return error


class _Setting:
    """One problem in one arithmetic: what every cell in it is compared with.

    Raises InvalidRequestError if the inputs overflow the arithmetic, CertificationError if softmax has no certified
    value.
    """

    def __init__(self, truth: _Truth, arithmetic: Arithmetic) -> None:
        self.truth = truth
        self.arithmetic = arithmetic
        self.rows = truth.problem.attended_rows
        rounded = truth.problem.rounded(arithmetic.inputs)
        self.rounded_truth = truth if rounded is truth.problem else _Truth(rounded, truth.orders)
        self.softmax = truth.of("softmax")
        self.size = root_mean_square(np.abs(self.softmax.value[self.rows]))
        self._gaps: dict[tuple[str, int | None], dict[str, Float64Array]] = {}
        # with every weight equal to one, order 0 is the mean of the attended v: the null prediction
        self.null_error = self.gaps("taylor", 0)["truncation"][self.rows]
        baseline = named_form("softmax", "softmax").run(truth.problem, arithmetic)
        self.baseline_rms = root_mean_square(magnitudes(computed_error(baseline.value, self.softmax)[self.rows]))

    def gaps(self, mechanism: str, order: int | None) -> dict[str, Float64Array]:
        """Return the parts of the total error that are differences of exact values."""
        if (mechanism, order) not in self._gaps:
            parts = {}
            if mechanism != "softmax":
                name = "truncation" if mechanism == "taylor" else "deviation"
                parts[name] = _gap((self.truth, mechanism, order), (self.truth, "softmax", None))
            if self.rounded_truth is self.truth:
                parts["quantisation"] = np.zeros(self.truth.problem.output_shape)
            else:
                exact = (self.truth, mechanism, order)
                parts["quantisation"] = _gap((self.rounded_truth, mechanism, order), exact)
            self._gaps[mechanism, order] = parts
        return self._gaps[mechanism, order]

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Return errors, hazards, costs and certified digits of one cell.

        computed - softmax = (own exact - softmax) + (own exact on rounded inputs - own exact) + (computed - own exact
        on rounded inputs): truncation (deviation for log-exp), quantisation and rounding.
        """
        problem, rows = self.truth.problem, self.rows
        form = named_form(cell.mechanism, cell.form)
        own, rounded_own = (truth.of(cell.mechanism, cell.order) for truth in (self.truth, self.rounded_truth))
        gaps = self.gaps(cell.mechanism, cell.order)
        output = form.run(problem, self.arithmetic, cell.order)
        computed = output.value.astype(np.float64)
        total = computed_error(computed, self.softmax)
        # name: error, the two values it lies between
        parts = {
            "rounding": (computed_error(computed, rounded_own), computed, rounded_own.value),
            "quantisation": (gaps["quantisation"], rounded_own.value, own.value),
            "total": (total, computed, self.softmax.value),
        } | {name: (gaps[name], own.value, self.softmax.value) for name in gaps if name != "quantisation"}
        return {
            "errors": {
                name: summarise(error[rows], found[rows], origin[rows], self.size, self.arithmetic.output)
                for name, (error, found, origin) in parts.items()
            },
            "skill": skill(total[rows], self.null_error),
            "softmax_ratio": ratio(root_mean_square(magnitudes(total[rows])), self.baseline_rms),
            "nonpositive_exact": int(own.nonpositive_rows.sum()),
            "nonpositive_computed": int((rows & ~(output.normaliser > 0)).sum()),
            "nonfinite": int((~np.isfinite(computed)).sum()),
            "undefined": int(own.undefined_rows.sum()),
            "digits": min(own.digits, rounded_own.digits, self.softmax.digits),
            "without_digits": int((own.absolute | rounded_own.absolute | self.softmax.absolute).sum()),
            **dataclasses.asdict(form.costs(problem, cell.order)),
        }
