"""The result of one cell, and its form in JSON."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from enum import StrEnum

from verify.arguments import Value
from verify.attention.hazards import Hazards
from verify.families.costs import FeatureCost
from verify.files.documents import plain, restored
from verify.measure.summary import BoundSummary, ErrorSummary, HeadSummary, RowSummary, WeightSummary

_NUMBERS = re.compile(r"\d[\d.,e+-]*")

ERRORS = ("formula", "rounding", "quantisation", "total")
BOUNDS = ("formula", "rounding", "rounding_probable")


class Status(StrEnum):
    """How a cell ended.

    ok: measured.  refused: the request does not fit the form or the memory allowed.  failed: the exact value could not
    be certified.  crashed: the process or the code broke; tried again when the sweep is run again.
    """

    OK = "ok"
    REFUSED = "refused"
    FAILED = "failed"
    CRASHED = "crashed"


@dataclass(frozen=True)
class Record:
    """One cell: what was measured, on what, and what came out.

    largest_logit, measured_logit_std, logit_powers: of the logits s of measured rows: the largest |s|, the standard
    deviation, and the means of |s|, |s|^2, ...; NaN and nothing where they could not be found out.
    mechanism, member: names, of the mechanism and with its parameters; labels: what tables show of these.  options: of
    the form, those that are not its own choice.
    errors: summaries under the names formula (not of softmax itself), rounding, quantisation and total.
    skill: against the null prediction (the mean of the attended v).  softmax_ratio: total error over that of the
    conventional softmax in the same arithmetic, by root mean square; softmax_rounding: that softmax's own rounding
    error, relative.  per_head: what each head's errors are.  histogram: how many elements have a total error in each
    bin.  output_rows: the computed rows beside those of the exact softmax.  weights: the exact weights beside its
    weights.  rows: rows that attend to something; measured_rows: those among them that errors are of, all or a sample;
    nonpositive_exact: those among these whose exact sum of weights Z is <= 0; undefined: those whose Z is exactly zero.
    hazards: of the run, which is of all rows where the form needs them.  bounds: on formula, rounding
    and, if roundings are independent, rounding_probable, those that are known.  digits: certified digits of the exact
    values; without_digits: elements that are essentially zero and have none.  counts: what the mechanism's features
    cost, if it has any, for one head.  features, state_elements and flops_per_token: of one head, by the form's
    formulas.
    """

    input: str
    kind: str
    digest: str
    head_size: int
    value_size: int
    queries: int
    keys: int
    heads: int
    causal: bool
    scale: float | None
    logit_std: float | None
    largest_logit: float
    measured_logit_std: float
    logit_powers: tuple[float, ...]
    rows: int
    measured_rows: int
    mechanism: str = ""
    member: str = ""
    labels: dict[str, Value] = field(default_factory=dict)
    form: str = ""
    options: dict[str, Value] = field(default_factory=dict)
    arithmetic: str = ""
    status: Status = Status.CRASHED
    reason: str = ""
    errors: dict[str, ErrorSummary] = field(default_factory=dict)
    skill: float | None = None
    softmax_ratio: float | None = None
    softmax_rounding: float | None = None
    per_head: tuple[HeadSummary, ...] = ()
    histogram: tuple[tuple[int, int], ...] = ()
    output_rows: RowSummary | None = None
    weights: WeightSummary | None = None
    hazards: Hazards | None = None
    bounds: dict[str, BoundSummary] = field(default_factory=dict)
    nonpositive_exact: int | None = None
    undefined: int | None = None
    digits: int | None = None
    without_digits: int | None = None
    counts: FeatureCost | None = None
    features: int | None = None
    state_elements: int | None = None
    flops_per_token: int | None = None

    @property
    def cause(self) -> str:
        """The reason without its numbers and the input's name: what cells have in common that differ in these only."""
        return _NUMBERS.sub("#", self.reason.replace(self.input, "#"))

    def _require_sense(self) -> None:
        """Raise ValueError for numbers that no measurement gives: errors below zero, or a head twice."""
        relative = ((head.formula or 0.0, head.rounding, head.quantisation, head.total) for head in self.per_head)
        errors = (vars(summary).values() for summary in self.errors.values())
        if any(value < 0 for values in (*errors, *relative) for value in values):
            raise ValueError("an error below zero")
        if not len({head.head for head in self.per_head}) == len(self.per_head) <= self.heads:
            raise ValueError("not its heads")

    def to_json(self) -> str:
        """Return the record as one line of standard JSON; numbers that are not finite become strings."""
        return json.dumps(plain(self), allow_nan=False)  # labels and options keep the order they are declared in

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Return the record that to_json wrote; ValueError for anything else."""
        try:
            record: Record = restored(cls, _DECODER.decode(text))
        except (OverflowError, RecursionError) as error:
            raise ValueError(f"not a record: {error}") from None
        measured = record.status == Status.OK
        errors = {"rounding", "quantisation", "total"} if measured else set()
        if set(record.errors) - {"formula"} != errors or not set(record.errors) <= set(ERRORS):
            raise ValueError("not the errors of such a record")
        together = "rounding" in record.bounds, "rounding_probable" in record.bounds
        unknown = set(record.bounds) - set(BOUNDS if measured else ())
        if unknown or together[0] != together[1] or ("formula" in record.bounds and "formula" not in record.errors):
            raise ValueError("not the bounds of such a record")
        if measured == (None in (record.output_rows, record.weights, record.hazards, record.nonpositive_exact)):
            raise ValueError("a measured cell without numbers, or numbers without measurement")
        if measured != bool(record.per_head):
            raise ValueError("not the heads of such a record")
        record._require_sense()
        if not record.mechanism or record.member.partition(":")[0] != record.mechanism:
            raise ValueError(f"mechanism {record.mechanism!r} with member {record.member!r}")
        return record


def _no_number(token: str) -> float:
    raise ValueError(f"{token} as a number")


_DECODER = json.JSONDecoder(parse_constant=_no_number)
