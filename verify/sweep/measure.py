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
from verify.cost import (
    conventional_flops_per_token,
    feature_count,
    flops_per_token,
    kv_cache_size,
    logexp_state_size,
    state_size,
)
from verify.errors import AttnproofError, CertificationError, InvalidRequestError
from verify.inputs import InputSource
from verify.metrics import (
    computed_error,
    exact_difference,
    logit_statistics,
    magnitudes,
    ratio,
    root_mean_square,
    skill,
    summarise,
)
from verify.problem import Problem
from verify.sweep.record import Record, Status
from verify.sweep.spec import DIGITS, Cell
from verify.truth import Reference, reference, taylor_references


@dataclass(frozen=True)
class Task:
    """The cells of one input still to be measured; digest is that of the input when the sweep was planned."""

    source: InputSource
    digest: str
    cells: tuple[Cell, ...]


def measure(task: Task) -> list[tuple[Cell, Record]]:
    """Measure every cell of the task, linear algebra on one thread, so that results do not depend on how many run.

    Raises InvalidRequestError if the input has changed since the sweep was planned.
    """
    with threadpool_limits(limits=1):
        problem = task.source.load()
        if problem.digest != task.digest:
            raise InvalidRequestError(
                f"{problem.name} changed while the sweep ran", "the same contents throughout", "run the sweep again"
            )
        return list(_measured(task, problem))


def _measured(task: Task, problem: Problem) -> Iterator[tuple[Cell, Record]]:
    blank = blank_record(task.source, problem)
    truth = _Truth(problem, sorted({cell.order for cell in task.cells if cell.order is not None}))
    for name in dict.fromkeys(cell.arithmetic for cell in task.cells):
        cells = [cell for cell in task.cells if cell.arithmetic == name]
        try:
            setting = _Setting(truth, named_arithmetic(name))
        except AttnproofError as error:
            for cell in cells:
                yield cell, _placed(blank, cell, problem, **_ending(error))
            continue
        for cell in cells:
            try:
                results = setting.measure(cell)
            except AttnproofError as error:
                results = _ending(error)
            yield cell, _placed(blank, cell, problem, **results)


def _ending(error: AttnproofError) -> dict[str, Any]:
    """Return status and reason of a cell that ended in an expected error."""
    return {
        "status": Status.FAILED if isinstance(error, CertificationError) else Status.REFUSED,
        "reason": str(error),
    }


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

    def null(self) -> Reference:
        """Return the null prediction, the mean of the attended v: order 0, in which every weight is one."""
        return self.of("taylor", 0)


class _Setting:
    """One problem in one arithmetic: what every cell in it is compared with.

    Raises InvalidRequestError if the inputs overflow the arithmetic, CertificationError if softmax has no certified
    value.
    """

    def __init__(self, truth: _Truth, arithmetic: Arithmetic) -> None:
        self.truth = truth
        self.arithmetic = arithmetic
        rounded = truth.problem.rounded(arithmetic.format)
        self.rounded_truth = truth if rounded is truth.problem else _Truth(rounded, truth.orders)
        self.softmax = truth.of("softmax")
        self.null_error = exact_difference(truth.null(), self.softmax)
        baseline = named_form("softmax", "softmax").run(truth.problem, arithmetic)
        self.baseline_rms = root_mean_square(magnitudes(computed_error(baseline.value, self.softmax)))

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Return errors, hazards and certified digits of one cell.

        computed - softmax = (own exact - softmax) + (own exact on rounded inputs - own exact) + (computed - own exact
        on rounded inputs): truncation (deviation for log-exp), quantisation and rounding.
        """
        problem = self.truth.problem
        output = named_form(cell.mechanism, cell.form).run(problem, self.arithmetic, cell.order)
        own, rounded_own = (truth.of(cell.mechanism, cell.order) for truth in (self.truth, self.rounded_truth))
        total = computed_error(output.value, self.softmax)
        parts = {
            "rounding": (computed_error(output.value, rounded_own), rounded_own),
            "quantisation": (exact_difference(rounded_own, own), own),
            "total": (total, self.softmax),
        }
        if cell.mechanism != "softmax":
            name = "truncation" if cell.mechanism == "taylor" else "deviation"
            parts[name] = (exact_difference(own, self.softmax), self.softmax)
        return {
            "status": Status.OK,
            "errors": {
                name: summarise(error, origin, self.softmax, self.arithmetic.format)
                for name, (error, origin) in parts.items()
            },
            "skill": skill(total, self.null_error),
            "softmax_ratio": ratio(root_mean_square(magnitudes(total)), self.baseline_rms),
            "nonpositive_exact": int(own.nonpositive_rows.sum()),
            "nonpositive_computed": int((problem.attended_rows & ~(output.normaliser > 0)).sum()),
            "nonfinite": int((~np.isfinite(output.value)).sum()),
            "digits": min(own.digits, self.softmax.digits),
        }


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
        mechanism="",
        form="",
        order=None,
        terms=None,
        arithmetic="",
        status=Status.CRASHED,
    )


def crashed_record(source: InputSource, problem: Problem, cell: Cell, reason: str) -> Record:
    """Return the record of a cell whose process or code broke."""
    return _placed(blank_record(source, problem), cell, problem, status=Status.CRASHED, reason=reason)


def _placed(blank: Record, cell: Cell, problem: Problem, **results: Any) -> Record:
    d, d_v = problem.head_size, problem.value_size
    costs: dict[str, Any]
    if cell.mechanism == "taylor":
        assert cell.order is not None
        costs = {
            "features": feature_count(d, cell.order),
            "state_elements": state_size(d, cell.order, d_v),
            "flops_per_token": flops_per_token(d, cell.order, d_v),
        }
    elif cell.mechanism == "logexp":
        costs = {"features": d, "state_elements": logexp_state_size(d, d_v)}  # LE gives no FLOP count
    else:
        costs = {
            "state_elements": kv_cache_size(problem.keys, d, d_v),
            "flops_per_token": conventional_flops_per_token(problem.keys, d, d_v),
        }
    return dataclasses.replace(
        blank,
        mechanism=cell.mechanism,
        form=cell.form,
        order=cell.order,
        terms=None if cell.order is None else cell.order + 1,
        arithmetic=cell.arithmetic,
        **costs,
        **results,
    )
