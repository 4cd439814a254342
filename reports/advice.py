"""Recommendations as a table, a few lines, and an answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from reports.answer import Answer, Column, Point, Subject
from reports.heat import LONGEST_CONTEXT
from reports.text import Table, context_text, count_text, error_text, number_text
from verify.arguments import Value, value_text
from verify.families.costs import FeatureCost, pays_from
from verify.integers import how_many
from verify.recommend import Advice, Recommendation


def advice_table(found: Recommendation) -> Table:
    """Return one row for every head and one for all of them together; columns in which nothing stands are left out."""
    axis = found.axis
    columns = ["head", "largest |logit|", axis, *_others(found), f"guaranteed {axis}", found.metric]
    columns += [f"at {axis}", "misses again at", "Z <= 0 there", "state", "pays from n"]
    if found.overall.softmax is not None:
        columns.append("softmax's own")
    if found.proposed is not None:
        columns.append(f"Z <= 0 at {axis} {found.proposed}")
    rows = [_row(advice, found) for advice in (*found.per_head, found.overall)]
    kept = [place for place in range(len(columns)) if any(row[place] for row in rows)]
    return Table([columns[place] for place in kept], [[row[place] for place in kept] for row in rows], keys=1)


def overall_text(found: Recommendation) -> str:
    """Return what the value overall costs and what speaks against it, or why there is none."""
    lines = [*_verdict(found), *_against(found)]
    if found.left_out:
        lines.append(f"left out: {found.left_out}")
    return "\n".join(lines)


def _verdict(found: Recommendation) -> Iterator[str]:
    axis, value = found.axis, found.overall.value
    if value is None:
        yield f"no {axis} up to {found.largest} is enough: {found.reason}"
        return
    beside = ", ".join(_beside(found))
    named = f"{axis} {value} ({beside})" if beside else f"{axis} {value}"
    costs = ", ".join(_costs(found))
    yield f"{named}, for each head: {costs}" if costs else named
    if found.own_state is not None and found.shared_state is not None and len(found.per_head) > 1:
        own, shared = (how_many(state, "number") for state in (found.own_state, found.shared_state))
        yield f"all heads hold {shared} together, {own} with each at its own {axis}"
    yield from _pays(found)


def _pays(found: Recommendation) -> Iterator[str]:
    """Yield from which context on that pays, in memory and in FLOPs."""
    contexts = {"memory": found.memory_context, "FLOPs per token": found.flop_context}
    known = {what: context for what, context in contexts.items() if context is not None}
    if not known:
        return
    if min(known.values()) > LONGEST_CONTEXT:
        yield f"it pays nowhere below 10^9 tokens: {_met(known)}"
    else:
        told = []
        for what, context in known.items():
            near = f"from {how_many(context, 'token')}"
            told.append(f"{near if context <= LONGEST_CONTEXT else 'nowhere below 10^9 tokens'} in {what}")
        yield f"it pays {' and '.join(told)}"


def _met(contexts: dict[str, int]) -> str:
    told = " and ".join(f"at {context:.1e} in {what}" for what, context in contexts.items())
    return f"conventional attention is met {told}"


def _against(found: Recommendation) -> Iterator[str]:
    """Yield what speaks against the value that was found."""
    axis, overall = found.axis, found.overall
    if overall.softmax is not None and not overall.softmax <= found.tolerance:
        yield f"softmax itself is off by {error_text(overall.softmax)} in {found.arithmetic}: more than the tolerance"
    if overall.value is None:
        return
    if not found.within_state:
        held = "its state is unknown" if found.cost is None else f"it holds {found.cost.state_elements:,}"
        yield f"too much: {held}, and one head may hold {how_many(found.max_state or 0, 'number')}"
    if overall.nonpositive_found:
        yield f"{overall.nonpositive_found:,} of {how_many(overall.rows, 'row')} have weights that sum to zero or less"
    if overall.fails_again is not None:
        yield f"more is not always better: {axis} {overall.fails_again} misses the tolerance again"
    if overall.guaranteed is None:
        yield f"no {axis} up to {found.largest} is guaranteed: the bounds on its errors exceed the tolerance"


def _others(found: Recommendation) -> list[str]:
    """Return what is shown of a member besides its value on the axis."""
    return [label for label in found.overall.labels if label != found.axis]


def _beside(found: Recommendation) -> Iterator[str]:
    """Yield the rest of what is shown of the member: parameters as "seed 0", what follows as "4 terms" or "terms 1"."""
    parameters = {pair.partition("=")[0] for pair in (found.member or "").partition(":")[2].split(",")}
    for label in _others(found):
        value = value_text(found.overall.labels[label])
        yield f"{label} {value}" if label in parameters or value == "1" else f"{value} {label}"


def _costs(found: Recommendation) -> Iterator[str]:
    """Yield what one head costs, as far as that is known."""
    if found.cost is None:
        return
    if found.cost.features is not None:
        yield how_many(found.cost.features, "feature")
    yield f"a state of {how_many(found.cost.state_elements, 'number')}"
    if found.cost.flops_per_token is not None:
        yield how_many(found.cost.flops_per_token, "FLOP per token", "FLOPs per token")


def _row(advice: Advice, found: Recommendation) -> list[str]:
    none = f"none up to {found.largest}"
    shown: dict[str, Value] = {} if advice.value is None else advice.labels
    rows = count_text(advice.rows)
    row = [
        "all" if advice.head is None else " ".join(map(str, advice.head)) or "one",
        number_text(advice.largest_logit),
        none if advice.value is None else str(advice.value),
        *("" if label not in shown else value_text(shown[label]) for label in _others(found)),
        none if advice.guaranteed is None else str(advice.guaranteed),
        error_text(advice.measured),
        str(advice.best),
        "" if advice.fails_again is None else str(advice.fails_again),
        "" if advice.nonpositive_found is None else f"{advice.nonpositive_found:,} of {rows}",
        "" if advice.cost is None else count_text(advice.cost.state_elements),
        "" if advice.cost is None else _context(advice.cost),
    ]
    if found.overall.softmax is not None:
        row.append(error_text(advice.softmax))
    if found.proposed is not None:
        row.append(f"{count_text(advice.nonpositive_rows)} of {rows}")
    return row


def _context(cost: FeatureCost) -> str:
    tokens = pays_from(cost)
    return context_text(tokens) if tokens <= LONGEST_CONTEXT else "beyond 10^9"


def advice_records(found: Recommendation) -> Iterator[dict[str, Any]]:
    """Yield every number about each head and all of them together."""
    about = {name: getattr(found, name) for name in ("input", "mechanism", "metric", "tolerance", "arithmetic", "form")}
    for advice in (*found.per_head, found.overall):
        own = asdict(advice)
        cost = own.pop("cost") or dict.fromkeys(FeatureCost.__annotations__)
        head = "all" if advice.head is None else " ".join(map(str, advice.head)) or "one"
        yield about | own | {"head": head, "cost": cost}


def recommended_answer(found: Sequence[Recommendation]) -> Answer:
    """Return what recommendations on several inputs, of one mechanism, say together, of members they may hold."""
    most = found[0].max_state
    columns: dict[str, Column] = {}
    costs: dict[tuple[str, int, int], FeatureCost] = {}
    for one in found:
        series = ",".join(part for part in _parts(one.members[0]) if part.partition("=")[0] != one.axis)
        name = f"{one.mechanism}:{series}" if series else one.mechanism
        for member, value, state in zip(one.members, one.values, one.states, strict=True):
            if most is None or (state is not None and state <= most):
                columns.setdefault(member, Column(one.mechanism, name, one.axis, value, member))
        for advice in (*one.per_head, one.overall):
            if advice.cost is not None:
                costs[advice.cost.member, one.head_size, one.value_size] = advice.cost
    ordered = sorted(columns.values(), key=lambda column: (column.series, column.along))
    places = {column.member: place for place, column in enumerate(ordered)}
    subjects = [_subject(one, places) for one in found]
    return Answer(found[0].arithmetic, ordered, subjects, costs, found[0].metric, most=most)


def _parts(member: str) -> list[str]:
    return [part for part in member.partition(":")[2].split(",") if part]


def _subject(found: Recommendation, places: dict[str, int]) -> Subject:
    def subject(name: str, advice: Advice, heads: Sequence[Subject] = ()) -> Subject:
        points = {
            places[member]: Point(error, rows=advice.rows)
            for member, error in zip(found.members, advice.errors, strict=True)
            if member in places
        }
        sizes = found.head_size, found.value_size
        return Subject(name, *sizes, advice.largest_logit, points, advice.softmax, heads)

    heads = [subject(" ".join(map(str, advice.head or ())) or "0", advice) for advice in found.per_head]
    return subject(found.input, found.overall, heads if len(heads) > 1 else ())
