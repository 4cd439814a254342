"""A recommendation as a table and a few lines."""

from __future__ import annotations

from collections.abc import Iterator

from reports.text import Table, count_text, error_text, number_text
from verify.arguments import Value, value_text
from verify.integers import how_many
from verify.recommend import Advice, Recommendation


def advice_table(found: Recommendation) -> Table:
    """Return one row for every head and one for all of them together."""
    axis = found.axis
    columns = ["head", "largest |logit|", axis, *_others(found), f"guaranteed {axis}", found.metric]
    columns += [f"at {axis}", "misses again at"]
    if found.proposed is not None:
        columns.append(f"Z <= 0 at {axis} {found.proposed}")
    return Table(columns, [_row(advice, found) for advice in (*found.per_head, found.overall)], keys=1)


def overall_text(found: Recommendation) -> str:
    """Return what the value overall costs, or why there is none."""
    axis, value = found.axis, found.overall.value
    if value is None:
        return f"no {axis} up to {found.largest} is enough: {found.reason}"
    beside = ", ".join(_beside(found))
    named = f"{axis} {value} ({beside})" if beside else f"{axis} {value}"
    costs = ", ".join(_costs(found))
    lines = [f"{named}, for each head: {costs}" if costs else named]
    contexts = [] if found.memory_context is None else [f"{how_many(found.memory_context, 'token')} in memory"]
    contexts += [] if found.flop_context is None else [f"{found.flop_context:,} in FLOPs"]
    if contexts:
        lines.append(f"it meets conventional attention at a context of {' and '.join(contexts)}")
    if found.overall.fails_again is not None:
        lines.append(f"more is not always better: {axis} {found.overall.fails_again} misses the tolerance again")
    if found.overall.guaranteed is None:
        lines.append(f"no {axis} up to {found.largest} is guaranteed: the bounds on its errors exceed the tolerance")
    return "\n".join(lines)


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
    row = [
        "all" if advice.head is None else " ".join(map(str, advice.head)) or "one",
        number_text(advice.largest_logit),
        none if advice.value is None else str(advice.value),
        *("" if label not in shown else value_text(shown[label]) for label in _others(found)),
        none if advice.guaranteed is None else str(advice.guaranteed),
        error_text(advice.measured),
        str(advice.best),
        "" if advice.fails_again is None else str(advice.fails_again),
    ]
    if found.proposed is not None:
        row.append(f"{count_text(advice.nonpositive_rows)} of {count_text(advice.rows)}")
    return row
