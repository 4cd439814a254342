"""The result of one cell, and its form in JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from verify.metrics import ErrorSummary

ERRORS = ("truncation", "deviation", "rounding", "quantisation", "total")


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

    errors: summaries under the names truncation, deviation, rounding, quantisation and total, those that apply.
    skill: against the null prediction (the mean of the attended v).  softmax_ratio: total error over that of the
    conventional softmax in the same arithmetic, by root mean square.  rows: rows that attend to something;
    nonpositive_exact, nonpositive_computed: those among them whose sum of weights Z is <= 0, exactly and as computed
    (NaN counts); undefined: those whose Z is exactly zero.  nonfinite: elements computed as NaN or infinity.
    digits: certified digits of the exact values; without_digits: elements that are essentially zero and have none.
    features, state_elements and flops_per_token: of one head, by the form's published formulas.
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
    rows: int
    mechanism: str = ""
    form: str = ""
    order: int | None = None
    terms: int | None = None
    arithmetic: str = ""
    status: Status = Status.CRASHED
    reason: str = ""
    errors: dict[str, ErrorSummary] = field(default_factory=dict)
    skill: float | None = None
    softmax_ratio: float | None = None
    nonpositive_exact: int | None = None
    nonpositive_computed: int | None = None
    undefined: int | None = None
    nonfinite: int | None = None
    digits: int | None = None
    without_digits: int | None = None
    features: int | None = None
    state_elements: int | None = None
    flops_per_token: int | None = None

    def to_json(self) -> str:
        """Return the record as one line of standard JSON; numbers that are not finite become strings."""
        return json.dumps(_plain(asdict(self)), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Return the record that to_json wrote; ValueError for anything else."""
        document = json.loads(text)
        if not isinstance(document, dict) or set(document) != {f.name for f in fields(cls)}:
            raise ValueError("not the members of a record")
        for f in fields(cls):
            if f.name not in ("errors", "status"):
                document[f.name] = _typed(document[f.name], str(f.type))
        errors = document["errors"]
        if not isinstance(errors, dict) or not set(errors) <= set(ERRORS):
            raise ValueError("not the errors of a record")
        names = {f.name for f in fields(ErrorSummary)}
        for summary in errors.values():
            if not isinstance(summary, dict) or set(summary) != names:
                raise ValueError("not the members of an error")
        document["errors"] = {
            name: ErrorSummary(**{key: _typed(value, "float") for key, value in summary.items()})
            for name, summary in errors.items()
        }
        document["status"] = Status(document["status"])
        if (document["status"] == Status.OK) != ("total" in errors):
            raise ValueError("a measured cell without errors, or errors without measurement")
        return cls(**document)


def _typed(value: Any, annotation: str) -> Any:
    """Return a JSON value as the type of a record's field; ValueError if it is of another."""
    kind, _, optional = annotation.partition(" | ")
    if value is None and optional == "None":
        return None
    if kind == "float" and (isinstance(value, float | int) or value in ("inf", "-inf", "nan")):
        return float(value)
    exact = {"str": str, "int": int, "bool": bool}.get(kind)
    if exact is None or type(value) is not exact:
        raise ValueError(f"{value!r} is not of type {annotation}")
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # "inf", "-inf", "nan": float() reads them back
    return value
