"""Making records: of an input without results, and of a cell that is finished."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from verify.inputs import InputSource
from verify.measure.cell import Cell
from verify.mechanisms.loading import explained
from verify.problem import Problem
from verify.sweep.record import Record, Status


def blank_record(source: InputSource, problem: Problem, measured_rows: int) -> Record:
    """Return a record that describes the input and no result yet, nor its logits."""
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
        largest_logit=math.nan,
        measured_logit_std=math.nan,
        logit_powers=(),
        rows=int(problem.attended_rows.sum()),
        measured_rows=measured_rows,
    )


def ended(blank: Record, cell: Cell, status: Status, *, reason: str = "", **results: Any) -> Record:
    """Return the record of a cell on the input that blank describes; the reason is kept in one line."""
    member = cell.member
    with explained(member.mechanism):
        labels = member.labels
    return replace(
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
