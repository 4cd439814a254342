"""A recommendation as a table and a few lines."""

from __future__ import annotations

from reports.text import Table, count_text, error_text, number_text
from verify.recommend import SHOWN_ORDER, Advice, Recommendation


def advice_table(found: Recommendation) -> Table:
    """Return one row for every head and one for all of them together."""
    columns = [
        "head",
        "largest |logit|",
        "order",
        "terms",
        "guaranteed order",
        found.metric,
        "at order",
        "misses again at",
    ]
    columns.append(f"order {SHOWN_ORDER}: Z <= 0")
    return Table(columns, [_row(advice, found.max_order) for advice in (*found.per_head, found.overall)])


def overall_text(found: Recommendation) -> str:
    """Return what the order overall costs, or why there is none."""
    if found.cost is None:
        return f"no order up to {found.max_order} is enough: {found.reason}"
    cost = found.cost
    lines = [
        f"order {cost.order} ({cost.terms} terms), for each head: {cost.features:,} features, a state of"
        f" {cost.state_elements:,} numbers, {cost.flops_per_token:,} FLOPs per token",
        f"it meets conventional attention at a context of {cost.kv_break_even:,} tokens in memory and"
        f" {cost.flop_break_even:,} in FLOPs",
    ]
    if found.overall.fails_again is not None:
        lines.append(f"more terms are not always better: order {found.overall.fails_again} misses the tolerance again")
    if found.overall.guaranteed_order is None:
        lines.append(f"no order up to {found.max_order} is guaranteed: the bounds on its errors exceed the tolerance")
    return "\n".join(lines)


def _row(advice: Advice, max_order: int) -> list[str]:
    none = f"none up to {max_order}"
    return [
        "all" if advice.head is None else " ".join(map(str, advice.head)) or "one",
        number_text(advice.largest_logit),
        none if advice.order is None else str(advice.order),
        "" if advice.terms is None else str(advice.terms),
        none if advice.guaranteed_order is None else str(advice.guaranteed_order),
        error_text(advice.measured),
        str(advice.best_order),
        "" if advice.fails_again is None else str(advice.fails_again),
        f"{count_text(advice.nonpositive_rows)} of {count_text(advice.rows)}",
    ]
