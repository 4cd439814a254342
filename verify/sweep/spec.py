"""What a sweep is asked for: inputs times mechanisms, forms, orders and arithmetics."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from verify.arguments import Value, checked_order
from verify.attention.contract import Mechanism
from verify.errors import InvalidRequestError, MechanismError
from verify.inputs import InputSource
from verify.measure.cell import Cell
from verify.measure.decomposition import DIGITS
from verify.mechanisms.loading import explained
from verify.mechanisms.registry import Plan
from verify.numbers.arithmetic import named_arithmetic
from verify.sweep.provenance import code_digest

# Part of every cell's key: raise it when the meaning of a record changes.
SCHEMA = 5


def cell_key(cell: Cell, source: InputSource, digest: str, rows: int | None) -> str:
    """Return the SHA-256 over everything that determines the record of a cell.

    source and digest: the input, as it is called and what it holds.  rows: how many are measured; None for all.
    """
    content = {
        "input": {"name": source.name, "kind": source.kind, "logit_std": source.logit_std, "digest": digest},
        "cell": cell.variant.name,
        "arithmetic": cell.arithmetic,
        "rows": rows,
        "digits": DIGITS,
        "schema": SCHEMA,
        "code": code_digest(cell.member.mechanism),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class SweepSpec:
    """A sweep over inputs x forms x orders x arithmetics.

    plans: forms of mechanisms with some of their parameters (see `verify.mechanisms.registry.Registry.plans`).
    orders: the values of the parameter "order" of those that have it as their axis, unless it is given.  rows: how many
    of an input are measured, a sample; None for all.

    Raises InvalidRequestError for values that a mechanism does not take, or nothing to do.
    """

    inputs: tuple[InputSource, ...]
    plans: tuple[Plan, ...]
    orders: tuple[int, ...]
    arithmetics: tuple[str, ...]
    rows: int | None = None
    _cells: tuple[Cell, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make every cell once, which checks names and values; orders also where nothing takes them."""
        for order in self.orders:
            checked_order(order)
        for arithmetic in self.arithmetics:
            named_arithmetic(arithmetic)
        along = {"order": self.orders}
        cells = dict.fromkeys(
            Cell(variant, arithmetic)
            for arithmetic in self.arithmetics
            for plan in self.plans
            for variant in plan.variants(along)
        )
        mechanisms = {cell.member.mechanism for cell in cells}
        if len({mechanism.name for mechanism in mechanisms}) < len(mechanisms):
            raise InvalidRequestError("two mechanisms of one name", "each name once", "rename one")
        labels: dict[Mechanism, dict[str, Value]] = {}
        for member in dict.fromkeys(cell.member for cell in cells):
            with explained(member.mechanism):  # what cannot be shown is refused before anything is measured
                found = member.labels
            first = labels.setdefault(member.mechanism, found)
            if list(found) != list(first):
                raise MechanismError(
                    f"labels {found!r} of {member.name}", "the names of " + repr(first) + ", as before", "mend them"
                )
        object.__setattr__(self, "_cells", tuple(cells))
        if not self.inputs or not cells:
            raise InvalidRequestError(
                "a sweep of nothing", "at least one input, one form and one arithmetic", "add what is missing"
            )

    def cells(self) -> Iterator[Cell]:
        """Yield the cells of one input; every input has the same."""
        yield from self._cells

    def describe(self) -> dict[str, list[str]]:
        """Return the spec in words a run file can keep."""
        return {
            "inputs": [source.name for source in self.inputs],
            "cells": list(dict.fromkeys(cell.variant.name for cell in self._cells)),
            "arithmetics": list(self.arithmetics),
        }
