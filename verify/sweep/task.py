"""Measure the cells of one input: exact values once, then every form against them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from verify.attention import named_form
from verify.bounds import BoundSummary, rounding_bound, summarise_bound, truncation_bound
from verify.errors import AttnproofError, CertificationError, InvalidRequestError, ViolatedBoundError
from verify.inputs import InputSource
from verify.measure.decomposition import Decomposer, Decomposition, Truths
from verify.measure.metrics import (
    compare_rows,
    logit_statistics,
    magnitudes,
    ratio,
    root_mean_square,
    skill,
    summarise,
)
from verify.measure.weights import compare_weights
from verify.numbers.arithmetic import Arithmetic, named_arithmetic
from verify.problem import Problem
from verify.sweep.record import Record, Status
from verify.sweep.spec import Cell


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
    common = _Common(problem, sorted({cell.order for cell in task.cells if cell.order is not None}))
    settings: dict[str, _Setting | Exception] = {}
    for cell in task.cells:
        if cell.arithmetic not in settings:
            settings[cell.arithmetic] = _setting(common, cell.arithmetic)
        setting = settings[cell.arithmetic]
        try:
            if isinstance(setting, Exception):
                raise setting
            record = ended(task.blank, cell, Status.OK, **setting.measure(cell))
        except (CertificationError, ViolatedBoundError) as error:
            record = ended(task.blank, cell, Status.FAILED, reason=str(error))
        except AttnproofError as error:
            record = ended(task.blank, cell, Status.REFUSED, reason=str(error))
        except Exception as error:  # whatever broke, it broke this cell and not its neighbours
            record = ended(task.blank, cell, Status.CRASHED, reason=f"{type(error).__name__}: {error}")
        yield cell, record


def _setting(common: _Common, arithmetic: str) -> _Setting | Exception:
    try:
        return _Setting(common, named_arithmetic(arithmetic))
    except Exception as error:  # raised again for every cell in this arithmetic
        return error


class _Common:
    """What all cells of one problem share: exact values, and what depends on mechanism and order alone."""

    def __init__(self, problem: Problem, orders: Sequence[int]) -> None:
        self.problem = problem
        self.truths = Truths(problem, orders)
        self.weights = cache(lambda mechanism, order: compare_weights(problem, mechanism, order))
        self.truncation_bound = cache(lambda order: truncation_bound(problem, order))


class _Setting:
    """One problem in one arithmetic: what every cell in it is compared with.

    Raises InvalidRequestError if the inputs overflow the arithmetic, CertificationError if softmax has no certified
    value.
    """

    def __init__(self, common: _Common, arithmetic: Arithmetic) -> None:
        self.common = common
        self.arithmetic = arithmetic
        self.rows = common.problem.attended_rows
        rounded = common.problem.rounded(arithmetic.inputs)
        truths = common.truths
        self.decomposer = Decomposer(truths, truths if rounded is common.problem else Truths(rounded, truths.orders))
        softmax = truths.of("softmax")
        self.size = root_mean_square(np.abs(softmax.value[self.rows]))
        # with every weight equal to one, order 0 is the mean of the attended v: the null prediction
        self.null_error = self.decomposer.gaps("taylor", 0)["truncation"][0][self.rows]
        baseline = named_form("softmax", "softmax").run(common.problem, arithmetic)
        parts = self.decomposer.of(baseline.value, "softmax", None).parts
        self.baseline_rms, self.baseline_rounding = (
            root_mean_square(magnitudes(parts[name].error[self.rows])) for name in ("total", "rounding")
        )

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Return errors, bounds, hazards, costs and certified digits of one cell.

        Raises ViolatedBoundError if an error exceeds a bound that is sure.
        """
        problem, rows = self.common.problem, self.rows
        form = named_form(cell.mechanism, cell.form)
        watch = {"watch": True} if "watch" in form.options else {}
        output = form.run(problem, self.arithmetic, cell.order, **watch)
        found = self.decomposer.of(output.value, cell.mechanism, cell.order)
        parts, total = found.parts, found.parts["total"]
        return {
            "errors": {
                name: summarise(
                    part.error[rows],
                    part.found[rows],
                    part.origin[rows],
                    self.size,
                    self.arithmetic.output,
                    part.doubt[rows],
                )
                for name, part in parts.items()
            },
            "bounds": self._bounds(cell, found),
            "skill": skill(total.error[rows], self.null_error),
            "softmax_ratio": ratio(root_mean_square(magnitudes(total.error[rows])), self.baseline_rms),
            "softmax_rounding": ratio(self.baseline_rounding, self.size) or 0.0,
            "output_rows": compare_rows(found.computed, total.error, found.softmax.value, rows),
            "weights": self.common.weights(cell.mechanism, cell.order),
            "hazards": output.hazards,
            "nonpositive_exact": int(found.own.nonpositive_rows.sum()),
            "undefined": int(found.own.undefined_rows.sum()),
            "digits": min(truth.digits for truth in found.references),
            "without_digits": int(np.logical_or.reduce([truth.absolute for truth in found.references]).sum()),
            **dataclasses.asdict(form.costs(problem, cell.order)),
        }

    def _bounds(self, cell: Cell, found: Decomposition) -> dict[str, BoundSummary]:
        rounding = rounding_bound(
            self.decomposer.rounded.problem, found.rounded_own, cell.form, self.arithmetic, cell.order
        )
        pairs = {"rounding": ("rounding", rounding.sure), "rounding_probable": ("rounding", rounding.probable)}
        if cell.mechanism == "taylor":
            pairs["truncation"] = "truncation", self.common.truncation_bound(cell.order)
        bounds = {}
        for name, (part, bound) in pairs.items():
            error = found.parts[part].least[self.rows]
            bounds[name] = summarise_bound(error, bound[self.rows], self.size)
            if name != "rounding_probable" and bounds[name].share > 1.0:
                raise ViolatedBoundError(f"{part} is {bounds[name].share:.3g} times its bound")
        return bounds
