"""Two runs side by side: which of their numbers changed by more than rounding explains.

What is exact does not depend on who computes it: errors of formulas, quantisation, counts of rows, costs.  It may
differ by the rounding of its summary alone: of n magnitudes, each right to 2 units in the last place, a root mean
square is right to (n + 4) 2**-53, so two of them agree to (n + 4) 2**-52 of either; and by the certified digits of the
exact values.  Rounding errors do depend on the order of evaluation.  Two of one form are of one size: the root mean
square and the largest differ by ROUNDING_FACTOR at most, or by FEW units in the last place of the output's size.
Totals differ by no more than both roundings together, which is the triangle inequality.  What follows from these
(skill, cosines, weights in float64, bits) is not judged again.

Cells of one key ran the same code; on the same machine, as its session describes it, every number has to be equal.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verify.arguments import Value
from verify.errors import InvalidRequestError
from verify.numbers.arithmetic import ARITHMETICS
from verify.sweep.conditions import Condition, Number, ratio
from verify.sweep.record import ERRORS, Record, Status
from verify.sweep.statistics import numbers_of
from verify.sweep.store import Identity, RunFile

ROUNDING_FACTOR = 3.0
FEW = 4.0

# Bounds are sums of magnitudes, and functions of them, in float64: far below this part of them is rounding.
BOUND_NOISE = 2.0**-30

_ROUNDINGS = ("rounding_max", "rounding_relative", "softmax_rounding")
_OF_HEAD = " of head "
_QUANTILES = ("q05", "q25", "q50", "q75", "q95", "q99")
_EXACT_COUNTS: tuple[str, ...] = ("nonpositive_exact", "undefined", "without_digits", "rows", "features")
_EXACT_COUNTS += ("state_elements", "flops_per_token", "saturated_inputs", "nonfinite_elements", "nonfinite_state")


@dataclass(frozen=True)
class Change:
    """A number, or how a cell ended, in two runs.

    along: the value of the mechanism's axis, if it has one.  what: the statistic, "status", or "only in the first"
    and "only in the second".  ratio: after / before, None where there is none to form.
    """

    input: str
    mechanism: str
    member: str
    axis: str | None
    along: Value | None
    form: str
    arithmetic: str
    what: str
    before: Number | str | None
    after: Number | str | None
    ratio: float | None


@dataclass(frozen=True)
class Comparison:
    """What two runs have in common and what not.

    cells: how many each holds.  common: in both; same_code: those of them that ran the same code on the same kind of
    machine; equal: those in which every number is equal; changed: those with a change.  differences: of machine,
    versions and code, in words.  unfinished: runs that were interrupted, in words.  infinite: cells in both whose total
    error in the second run is not finite.  held: conditions that hold, each
    with the change it holds for; judged: how many times one could be told.
    """

    cells: tuple[int, int]
    common: int
    same_code: int
    equal: int
    changed: int
    differences: tuple[str, ...]
    unfinished: tuple[str, ...]
    infinite: int
    changes: tuple[Change, ...]
    held: tuple[tuple[str, Change], ...]
    judged: int

    @property
    def nothing(self) -> bool:
        """Whether nothing changed."""
        return not self.changes


def compare_runs(first: Path, second: Path, conditions: Sequence[Condition] = ()) -> Comparison:
    """Return what changed from one run file to another beyond noise, and which conditions hold.

    Raises InvalidRequestError for one file twice, files that cannot be read, or no cell in common.
    """
    if first.resolve() == second.resolve():
        raise InvalidRequestError(f"{first} twice", "two run files", "name another one")
    with RunFile(first) as a, RunFile(second) as b:
        keys = a.identities(), b.identities()
        common = [identity for identity in keys[1] if identity in keys[0]]
        if not common:
            raise InvalidRequestError(
                f"{first} and {second} without a cell in common",
                "runs of the same inputs, mechanisms and arithmetics",
                "run the same sweep into both",
            )
        changes: list[Change] = []
        held: list[tuple[str, Change]] = []
        judged = equal = changed = infinite = same_code = 0
        axes = _axes(a), _axes(b)
        pairs = zip(
            common,
            a.records_of(keys[0][each] for each in common),
            b.records_of(keys[1][each] for each in common),
            strict=True,
        )
        machines = _machines(a), _machines(b)
        sources: dict[str, None] = {}
        for identity, (earlier, before), (session, after) in pairs:
            about = _About(after, axes[1].get((session, after.mechanism)))
            code = keys[0][identity] == keys[1][identity]
            same = code and machines[0].get(earlier) == machines[1].get(session)
            same_code += same
            sources |= {} if code else {after.mechanism: None}
            found = list(_identical(before, after, about) if same else _changes(before, after, about))
            changes += found
            changed += bool(found)
            equal += before.to_json() == after.to_json()
            infinite += after.status == Status.OK and not math.isfinite(after.errors["total"].max)
            for each in conditions:
                one, other = (numbers_of(record).get(each.statistic) for record in (before, after))
                holds = each.holds(one, other)
                judged += holds is not None
                held += [(each.text, about.change(each.statistic, one, other))] if holds else []
        for place, run in enumerate((a, b)):
            lone = [key for identity, key in keys[place].items() if identity not in keys[1 - place]]
            for session, record in run.records_of(lone):
                about = _About(record, axes[place].get((session, record.mechanism)))
                ends = [None, str(record.status)] if place else [str(record.status), None]
                changes.append(about.change(f"only in the {'second' if place else 'first'}", *ends))
                if place == 0:  # what the second run has not measured at all, nobody can tell of either
                    for each in conditions:
                        lost = numbers_of(record).get(each.statistic)
                        held += [] if lost is None else [(each.text, about.change(each.statistic, lost, None))]
        return Comparison(
            cells=(len(keys[0]), len(keys[1])),
            common=len(common),
            same_code=same_code,
            equal=equal,
            changed=changed,
            differences=tuple(_differences(a, b, sources)),
            unfinished=tuple(_unfinished(a, keys[0])) + tuple(_unfinished(b, keys[1])),
            infinite=infinite,
            changes=tuple(changes),
            held=tuple(held),
            judged=judged,
        )


@dataclass(frozen=True)
class _About:
    """A cell that has changed."""

    record: Record
    axis: str | None

    def change(self, what: str, before: Number | str | None, after: Number | str | None) -> Change:
        own = self.record
        numbers = [value for value in (before, after) if isinstance(value, int | float)]
        return Change(
            input=own.input,
            mechanism=own.mechanism,
            member=own.member,
            axis=self.axis,
            along=None if self.axis is None else own.labels.get(self.axis),
            form=own.variant,
            arithmetic=own.arithmetic,
            what=what,
            before=before,
            after=after,
            ratio=ratio(*numbers) if len(numbers) == 2 else None,
        )


def _identical(before: Record, after: Record, about: _About) -> Iterator[Change]:
    """Yield whatever differs between two runs of the same code: nothing may."""
    if before.to_json() == after.to_json():
        return
    ended = list(_ended(before, after, about))
    yield from ended
    one, other = numbers_of(before), numbers_of(after)
    named = [name for name in {**one, **other} if not _same(one.get(name), other.get(name))]
    for name in () if ended else named:
        yield about.change(name, one.get(name), other.get(name))
    if not ended and not named:
        documents = json.loads(before.to_json()), json.loads(after.to_json())
        for name in documents[0]:
            if documents[0][name] != documents[1][name]:
                yield about.change(name, None, None)


def _changes(before: Record, after: Record, about: _About) -> Iterator[Change]:
    """Yield what differs between two runs of different code, or on different machines, beyond noise."""
    ended = list(_ended(before, after, about))
    if ended or before.status != Status.OK:
        yield from ended
        return
    pair = _by_head(before), _by_head(after)
    exact = list(_exact(before, after, pair))
    roundings = [*_ROUNDINGS, *_of_heads("rounding", pair)]
    rounding = [name for name in roundings if _other_size(name, after, pair)]
    # another formula has other roundings, bounds and coefficients
    others = [] if exact else [*rounding, *_beyond_rounding(pair), *_bounds(pair)]
    for name in (*exact, *others, *_counts(pair)):
        yield about.change(name, pair[0].get(name), pair[1].get(name))
    if before.counts != after.counts and not exact:
        yield about.change("counts", None, None)


def _ended(before: Record, after: Record, about: _About) -> Iterator[Change]:
    if before.status != after.status:
        yield about.change("status", str(before.status), str(after.status))


Pair = tuple[Mapping[str, Number], Mapping[str, Number]]


def _exact(before: Record, after: Record, pair: Pair) -> Iterator[str]:
    """Yield the statistics of exact errors that differ by more than their own rounding, and that of exact values."""
    elements = max(1, after.rows * after.value_size)
    part = (elements + 4) * 2.0**-52
    digits = min(before.digits or 0, after.digits or 0)
    certified = 10.0 ** (1 - digits) * math.sqrt(elements)
    for error in ("formula", "quantisation"):
        size = _output_size(pair, error)
        for statistic in ("relative", "rms", "max", *_QUANTILES):
            name = f"{error}_{statistic}"
            floor = certified * (1.0 if statistic == "relative" else size)
            if not _close(pair[0].get(name), pair[1].get(name), part, floor):
                yield name
        for name in _of_heads(error, pair):
            if not _close(pair[0].get(name), pair[1].get(name), part, certified):
                yield name


def _by_head(record: Record) -> dict[str, Number]:
    """Return every number, and of each head the errors relative to its own output."""
    found = numbers_of(record)
    for head in record.per_head:
        errors = {error: getattr(head, error) for error in ERRORS}
        found |= {f"{error}{_OF_HEAD}{list(head.head)}": own for error, own in errors.items() if own is not None}
    return found


def _of_heads(error: str, pair: Pair) -> list[str]:
    return [name for name in {**pair[0], **pair[1]} if name.startswith(f"{error}{_OF_HEAD}")]


def _other_size(name: str, after: Record, pair: Pair) -> bool:
    """Say whether a rounding error is of another size than that of another order of evaluation."""
    one, other = (numbers.get(name) for numbers in pair)
    if one is None or other is None or _same(one, other):
        return not _same(one, other)
    arithmetic = ARITHMETICS.get(after.arithmetic)
    step = 0.0 if arithmetic is None else 2.0 ** (1 - arithmetic.output.precision)
    floor = FEW * step * (_output_size(pair, "rounding") if name == "rounding_max" else 1.0)
    return not max(one, other) <= ROUNDING_FACTOR * min(one, other) + floor or math.inf in (one, other)


def _beyond_rounding(pair: Pair) -> Iterator[str]:
    """Yield the statistics of the total error that differ by more than both roundings together."""
    for statistic in ("relative", "rms", "max", *_QUANTILES):
        name = f"total_{statistic}"
        rounding = f"rounding_{'max' if statistic in _QUANTILES else statistic}"
        floor = sum(numbers.get(rounding, 0.0) for numbers in pair) * (1.0 + BOUND_NOISE)
        if not _close(pair[0].get(name), pair[1].get(name), BOUND_NOISE, floor):
            yield name
    for name in _of_heads("total", pair):
        floor = sum(numbers.get(name.replace("total", "rounding", 1), 0.0) for numbers in pair) * (1.0 + BOUND_NOISE)
        if not _close(pair[0].get(name), pair[1].get(name), BOUND_NOISE, floor):
            yield name


def _counts(pair: Pair) -> Iterator[str]:
    yield from (name for name in _EXACT_COUNTS if not _same(pair[0].get(name), pair[1].get(name)))


def _bounds(pair: Pair) -> Iterator[str]:
    for name in {**pair[0], **pair[1]}:
        one, other = pair[0].get(name), pair[1].get(name)
        if name.endswith("_bound_relative") and not _close(one, other, BOUND_NOISE, 0.0):
            yield name
        if name.endswith("_bound_unbounded") and not _same(one, other):
            yield name


def _output_size(pair: Pair, error: str) -> float:
    """Return the root mean square of the exact softmax output, as an error's two root mean squares tell it."""
    for numbers in pair:
        rms, relative = numbers.get(f"{error}_rms", 0.0), numbers.get(f"{error}_relative", 0.0)
        if 0.0 < relative < math.inf and 0.0 < rms < math.inf:
            return rms / relative
    return 0.0


def _same(one: Number | None, other: Number | None) -> bool:
    """Say whether two numbers are equal, NaN being equal to itself."""
    return one == other or (one is not None and other is not None and one != one and other != other)


def _close(one: Number | None, other: Number | None, part: float, floor: float) -> bool:
    """Say whether two numbers differ by no more than a part of the larger one, or by a floor; NaN and infinity do."""
    if one is None or other is None or _same(one, other):
        return _same(one, other)
    if not (math.isfinite(one) and math.isfinite(other)):
        return False
    return abs(one - other) <= max(part * max(abs(one), abs(other)), floor)


def _machines(run: RunFile) -> dict[int, Any]:
    return {session.number: session.provenance["machine"] for session in run.sessions()}


def _axes(run: RunFile) -> dict[tuple[int, str], str | None]:
    return {key: document["axis"] for key, document in run.descriptors().items()}


def _differences(a: RunFile, b: RunFile, sources: Iterable[str]) -> Iterator[str]:
    """Yield in words what differs between what two runs last ran on, and whose code."""
    machines = [_flat(run.sessions()[-1].provenance["machine"]) for run in (a, b)]
    code = machines[0].pop("code", None), machines[1].pop("code", None)
    for name in sorted({*machines[0], *machines[1]}):
        one, other = (machine.get(name, "none") for machine in machines)
        if one != other:
            yield f"{name}: {one} and {other}"
    if code[0] != code[1]:
        yield "code: of what measures, or the libraries and the processor it runs on"
    elif sources := list(sources):
        yield f"code: of {', '.join(sources)}"


def _flat(machine: Any, name: str = "") -> dict[str, str]:
    """Return what a session says of its machine, each part by its name."""
    if isinstance(machine, Mapping):
        parts = [(f"{name} {key}" if name and name != "versions" else str(key), part) for key, part in machine.items()]
    elif isinstance(machine, list):
        parts = [(name, part) for part in machine]
    else:
        return {name.replace("_", " "): str(machine)}
    return {key: value for own, part in parts for key, value in _flat(part, own).items()}


_ASKED = ("inputs", "cells", "arithmetics")


def _unfinished(run: RunFile, found: Iterable[Identity]) -> Iterator[str]:
    """Yield in words that the last sweep into a run file has not measured all it was asked for."""
    spec = run.sessions()[-1].provenance["spec"]
    if not isinstance(spec, Mapping) or not all(isinstance(spec.get(part), list) for part in _ASKED):
        return
    inputs, variants, arithmetics = (spec[part] for part in _ASKED)
    there = sum(each.input in inputs and each.arithmetic in arithmetics and each.variant in variants for each in found)
    asked = len(inputs) * len(variants) * len(arithmetics)
    if there < asked:
        yield f"{run.path} holds {there:,} of the {asked:,} cells of its last sweep, which was interrupted"
