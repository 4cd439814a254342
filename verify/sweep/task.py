"""Measure the cells of one input, each by itself: what breaks one leaves its neighbours alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from threadpoolctl import threadpool_limits

from verify.errors import AttnproofError, CertificationError, InvalidRequestError, MechanismError, ViolatedBoundError
from verify.families.costs import counts_of
from verify.inputs import InputSource
from verify.measure.cell import Cell, Exact, Setting
from verify.measure.metrics import logit_powers, logit_statistics
from verify.mechanisms.loading import explained
from verify.numbers.arithmetic import named_arithmetic
from verify.problem import Problem
from verify.sweep.record import Record, Status


@dataclass(frozen=True)
class Task:
    """The cells of one input still to be measured; blank describes the input as it was when the sweep was planned."""

    source: InputSource
    blank: Record
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Measured:
    """A cell and its record; seconds: that computing the output took, None where nothing came out."""

    cell: Cell
    record: Record
    seconds: float | None


def measure(task: Task) -> list[Measured]:
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
        logit_powers=logit_powers(problem),
        rows=int(problem.attended_rows.sum()),
    )


def ended(blank: Record, cell: Cell, status: Status, *, reason: str = "", **results: Any) -> Record:
    """Return the record of a cell on the input that blank describes; the reason is kept in one line."""
    member = cell.member
    with explained(member.mechanism):
        labels = member.labels
    return dataclasses.replace(
        blank,
        mechanism=member.of,
        member=member.name,
        labels=labels,
        form=cell.variant.form,
        options=dict(cell.variant.options),
        arithmetic=cell.arithmetic,
        status=status,
        reason=" ".join(reason.split()),
        **results,
    )


def _measured(task: Task, problem: Problem) -> Iterator[Measured]:
    exact = Exact(problem, [cell.member for cell in task.cells])
    settings: dict[str, Setting | Exception] = {}
    for cell in task.cells:
        if cell.arithmetic not in settings:
            settings[cell.arithmetic] = _setting(exact, cell.arithmetic)
        setting = settings[cell.arithmetic]
        costs: dict[str, Any] = {}
        seconds = None
        try:
            with explained(cell.member.mechanism):
                counts = counts_of(cell.member, problem.head_size, problem.value_size)
                # known of what is refused, too
                costs = {**dataclasses.asdict(cell.variant.costs(problem)), "counts": counts}
            if isinstance(setting, Exception):
                raise setting
            with explained(cell.member.mechanism):
                found = setting.measurement(cell.variant)
            names = {f.name for f in dataclasses.fields(found)} - {"cost", "seconds"}
            record = ended(task.blank, cell, Status.OK, **{name: getattr(found, name) for name in names}, **costs)
            seconds = found.seconds
        except (CertificationError, MechanismError, ViolatedBoundError) as error:
            record = ended(task.blank, cell, Status.FAILED, reason=str(error))
        except AttnproofError as error:
            record = ended(task.blank, cell, Status.REFUSED, reason=str(error), **costs)
        except Exception as error:  # whatever broke, it broke this cell and not its neighbours
            record = ended(task.blank, cell, Status.CRASHED, reason=f"{type(error).__name__}: {error}")
        yield Measured(cell, record, seconds)


def _setting(exact: Exact, arithmetic: str) -> Setting | Exception:
    try:
        return Setting(exact, named_arithmetic(arithmetic))
    except Exception as error:  # raised again for every cell in this arithmetic
        return error
