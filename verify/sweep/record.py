"""The result of one cell, and its form in JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from verify.metrics import ErrorSummary


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
    (NaN counts).  digits: certified digits of the exact value.  state_elements and flops_per_token count one head, by
    the formulas of verify.cost, with n the keys of the input for conventional attention.
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
    mechanism: str
    form: str
    order: int | None
    terms: int | None
    arithmetic: str
    status: Status
    reason: str = ""
    errors: dict[str, ErrorSummary] = field(default_factory=dict)
    skill: float | None = None
    softmax_ratio: float | None = None
    rows: int = 0
    nonpositive_exact: int | None = None
    nonpositive_computed: int | None = None
    nonfinite: int | None = None
    features: int | None = None
    state_elements: int | None = None
    flops_per_token: int | None = None
    digits: int | None = None

    def to_json(self) -> str:
        """Return the record as one line of standard JSON; numbers that are not finite become strings."""
        return json.dumps(_plain(asdict(self)), sort_keys=True, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # "inf", "-inf", "nan": float() reads them back
    return value
