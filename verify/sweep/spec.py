"""What a sweep is asked for: inputs times mechanisms, forms, orders and arithmetics."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from verify.attention import named_form
from verify.errors import InvalidRequestError
from verify.inputs import InputSource
from verify.measure.decomposition import DIGITS
from verify.numbers.arithmetic import named_arithmetic
from verify.truth import check_mechanism, check_order

# Part of every cell's key: raise it when the meaning of a record changes.
SCHEMA = 2


@dataclass(frozen=True)
class Cell:
    """One measurement on one input: a form of a mechanism, at an order if it takes one, in an arithmetic."""

    mechanism: str
    form: str
    order: int | None
    arithmetic: str

    def key(self, source: InputSource, digest: str, code: str) -> str:
        """Return the SHA-256 over everything that determines the record.

        source and digest: the input, as it is called and what it holds.  code: see `provenance.code_digest`.
        """
        named = {"name": source.name, "kind": source.kind, "logit_std": source.logit_std, "digest": digest}
        content = {"input": named, **asdict(self), "digits": DIGITS, "schema": SCHEMA, "code": code}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class SweepSpec:
    """A sweep over inputs x forms x orders x arithmetics; orders apply to the forms of taylor.

    Raises InvalidRequestError for names that do not exist, orders below 0, or nothing to do.
    """

    inputs: tuple[InputSource, ...]
    forms: tuple[tuple[str, str], ...]
    orders: tuple[int, ...]
    arithmetics: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check every name once."""
        for mechanism, form in self.forms:
            check_mechanism(mechanism, 0 if mechanism == "taylor" else None)
            named_form(mechanism, form)
        for order in self.orders:
            check_order(order)
        for arithmetic in self.arithmetics:
            named_arithmetic(arithmetic)
        if not self.inputs or not any(True for _ in self.cells()):
            raise InvalidRequestError(
                "a sweep of nothing", "at least one input, one form and one arithmetic", "add what is missing"
            )

    def cells(self) -> Iterator[Cell]:
        """Yield the cells of one input; every input has the same."""
        for arithmetic in self.arithmetics:
            for mechanism, form in self.forms:
                for order in self.orders if mechanism == "taylor" else (None,):
                    yield Cell(mechanism, form, order, arithmetic)

    def describe(self) -> dict[str, list[str]]:
        """Return the spec in words a run file can keep."""
        return {
            "inputs": [source.name for source in self.inputs],
            "forms": [f"{mechanism}/{form}" for mechanism, form in self.forms],
            "orders": [str(order) for order in self.orders],
            "arithmetics": list(self.arithmetics),
        }
