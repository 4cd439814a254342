"""The result of one cell, and its form in JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from verify.arguments import Value, value_text
from verify.attention.hazards import Hazards
from verify.families.costs import FeatureCost
from verify.files.documents import decoded, plain, restored
from verify.measure.summary import BoundSummary, ErrorSummary, HeadSummary, RowSummary, WeightSummary

_NUMBERS = re.compile(r"\d[\d.,e+-]*")

ERRORS = ("formula", "rounding", "quantisation", "total")
BOUNDS = ("formula", "rounding", "rounding_probable")


class Status(StrEnum):
    """How a cell ended: `Record` says what each means."""

    OK = "ok"
    REFUSED = "refused"
    FAILED = "failed"
    CRASHED = "crashed"


def cause_of(reason: str, name: str) -> str:
    """Return a reason without its numbers and the name of the input."""
    return _NUMBERS.sub("#", reason.replace(name, "#"))


def variant_of(form: str, options: Mapping[str, Value]) -> str:
    """Return a form with its options, as they are written on the command line."""
    given = options_text(options)
    return f"{form}:{given}" if given else form


def options_text(options: Mapping[str, Value]) -> str:
    """Return options as they are written on the command line."""
    return ",".join(f"{name}={value_text(value)}" for name, value in options.items())


@dataclass(frozen=True)
class Record:
    """One cell: what was measured, on what, and what came out.

    input: the input's name; kind: file, sample or synthetic; digest: SHA-256 of the problem.  head_size, value_size: of
    q and k, and of v; queries, keys, heads: how many there are; causal: whether a query sees no later key; scale: of
    the logits, None where it is 1/sqrt(d_k).  logit_std: the standard deviation of the logits that was asked for, of a
    synthetic input; measured_logit_std: that of the logits of attended pairs of measured rows, in float64, NaN if
    unknown; largest_logit: the largest |s| of attended pairs of measured rows, in float64, NaN if unknown.
    logit_powers: the means of |s|, |s|^2, ... over attended pairs of measured rows.
    mechanism: the mechanism's name; member: the mechanism with its parameters; labels: what tables show of the member.
    form: how it was computed; options: of the form, those that are not its own choice; arithmetic: what it was computed
    in.  status: how the cell ended: ok, measured; refused, as the request does not fit the form or the memory allowed;
    failed, as no exact value could be certified; crashed, tried again when the sweep is run again.  reason: why it was
    not measured, empty if it was.
    errors: summaries under the names formula (not of softmax itself), rounding, quantisation and total.
    skill: against the null prediction (the mean of the attended v), 1 - error / error of that mean.  softmax_ratio:
    total error over that of the conventional softmax in the same arithmetic, by root mean square; softmax_rounding: the
    conventional softmax's own rounding error, relative.  per_head: what each head's errors are.  histogram: (k, how
    many elements have a total error from 10^(k/4) to 10^((k+1)/4)).  output_rows: the computed rows beside those of the
    exact softmax.  weights: the exact weights beside its weights.  rows: rows that attend to something; measured_rows:
    those of them that errors are of, all or a sample.  nonpositive_exact: measured rows whose exact sum of weights Z is
    <= 0; undefined: measured rows whose exact Z is zero.  hazards: of the run, of all rows where the form needs them.
    bounds: on formula, rounding and, if roundings are independent, rounding_probable, those that are known.
    digits: certified digits of the exact values; without_digits: elements that are essentially zero and have none.
    counts: what the mechanism's features cost, if it has any, for one head.  features: how many one head has, by the
    form's formulas; state_elements: numbers that the state of one head holds; flops_per_token: of one head.
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
        return cause_of(self.reason, self.input)

    @property
    def variant(self) -> str:
        """The form with its options."""
        return variant_of(self.form, self.options)

    @property
    def shape(self) -> Shape:
        """Which numbers there are."""
        return Shape(
            self.status,
            self.mechanism,
            self.member,
            errors=tuple(self.errors),
            bounds=tuple(self.bounds),
            measured=tuple(getattr(self, name) is not None for name in MEASURED),
            heads=bool(self.per_head),
        )

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
        document = plain(self)  # labels and options keep the order they are declared in
        for member, names in (("errors", ERRORS), ("bounds", BOUNDS)):
            document[member] = {name: document[member][name] for name in names if name in document[member]}
        return json.dumps(document, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Return the record that to_json wrote; ValueError for anything else."""
        return cls.from_document(decoded(text))

    @classmethod
    def from_document(cls, document: Any) -> Record:
        """Return the record of which a document is the plain form; ValueError for anything else."""
        try:
            record: Record = restored(cls, document)
        except OverflowError as error:
            raise ValueError(f"not a record: {error}") from None
        record.shape.require_sense()
        record._require_sense()
        return record


# What a record has if, and only if, the cell was measured; heads and errors apart.
MEASURED = ("output_rows", "weights", "hazards", "nonpositive_exact")


@dataclass(frozen=True)
class Shape:
    """Which numbers a record has, whatever they are.

    errors, bounds: the names of those it has.  measured: whether it has each of MEASURED.  heads: whether it has any.
    """

    status: Status
    mechanism: str
    member: str
    errors: tuple[str, ...]
    bounds: tuple[str, ...]
    measured: tuple[bool, ...]
    heads: bool

    def require_sense(self) -> None:
        """Raise ValueError for numbers that do not go together."""
        measured = self.status == Status.OK
        errors = {"rounding", "quantisation", "total"} if measured else set()
        if set(self.errors) - {"formula"} != errors or not set(self.errors) <= set(ERRORS):
            raise ValueError("not the errors of such a record")
        together = "rounding" in self.bounds, "rounding_probable" in self.bounds
        unknown = set(self.bounds) - set(BOUNDS if measured else ())
        if unknown or together[0] != together[1] or ("formula" in self.bounds and "formula" not in self.errors):
            raise ValueError("not the bounds of such a record")
        if measured != all(self.measured):
            raise ValueError("a measured cell without numbers, or numbers without measurement")
        if measured != self.heads:
            raise ValueError("not the heads of such a record")
        if not self.mechanism or self.member.partition(":")[0] != self.mechanism:
            raise ValueError(f"mechanism {self.mechanism!r} with member {self.member!r}")

    def require_described(self, formula_error: str | None) -> None:
        """Raise ValueError unless there is an error of the formula where the mechanism is described with one."""
        if self.errors and ("formula" in self.errors) != (formula_error is not None):
            raise ValueError(f"not the errors of {self.mechanism}")
