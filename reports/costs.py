"""Cost tables, and the same as records with raw numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from reports.described import Described
from reports.text import Table, bytes_text, context_text, count_text, ratio_text
from verify.arguments import Value, value_text
from verify.families.costs import FeatureCost, MultiheadCost, pays_from
from verify.integers import how_many
from verify.numbers.formats import FORMATS, stored_bytes

# What state and cache are stored in, unless said otherwise
STORAGE = "float32"

# What tables show of members, by the name of each
Labels = Mapping[str, Mapping[str, Value]]

# n ...: the context at which it and conventional attention cost the same
_COUNTS = {
    "degree_features": "of this degree",
    "features": "features",
    "state_elements": "state",
    "flops_per_token": "FLOPs/token",
    "kv_break_even": "n: memory",
    "flop_break_even": "n: FLOPs",
    "flop_break_even_script": "n: 6nd FLOPs",
    "dense_features": "dense features",
}


def cost_table(costs: Iterable[FeatureCost], storage: str = STORAGE, labels: Labels | None = None) -> Table:
    """Return one row per head size and member; d_v stands in its own column only where it differs from d.

    labels: those of the members, where they are known.
    """
    rows = list(costs)
    keys = _keys(rows, labels or {})
    columns = dict(keys)
    for name, heading in _COUNTS.items():
        if not rows or any(getattr(row, name) is not None for row in rows):
            columns[heading] = [count_text(getattr(row, name)) for row in rows]
        if name == "state_elements":
            stored = [stored_bytes(row.state_elements, FORMATS[storage]) for row in rows]
            columns[f"{storage} bytes"] = [*map(bytes_text, stored)]
    if _COUNTS["dense_features"] in columns:
        columns["dense/packed"] = [
            "" if row.dense_features is None else ratio_text(row.dense_features, row.features) for row in rows
        ]
    return Table([*columns], [*zip(*columns.values(), strict=True)], keys=len(keys))


def multihead_table(costs: Iterable[MultiheadCost], storage: str = STORAGE, labels: Labels | None = None) -> Table:
    """Return one row per width, head size and member: totals over all heads of a layer; labels as in `cost_table`."""
    rows = list(costs)
    keys = _keys([row.head for row in rows], labels or {})
    columns = ["heads", "features/head", "state", f"{storage} bytes", "FLOPs/token", "cache/token"]
    columns += ["n: memory", "n: FLOPs", "n: 6nd FLOPs"]
    cells = []
    for row, *own in zip(rows, *keys.values(), strict=True):
        head = row.head
        numbers = map(count_text, [row.heads, head.features, row.total_state_elements])
        stored = bytes_text(stored_bytes(row.total_state_elements, FORMATS[storage]))
        unknown = [row.total_flops_per_token, row.kv_cache_per_token, head.kv_break_even, head.flop_break_even]
        others = map(count_text, [*unknown, head.flop_break_even_script])
        cells.append([count_text(row.width), *own, *numbers, stored, *others])
    return Table(["width", *keys, *columns], cells, keys=len(keys) + 1)


def _keys(rows: Sequence[FeatureCost], labels: Labels) -> dict[str, list[str]]:
    """Return the columns that tell rows apart: sizes, and the labels of one mechanism's members or their names.

    Labels do not, where another column is called like one of them.  Without labels, orders tell polynomials apart.
    """
    keys = {"d": [count_text(row.head_size) for row in rows]}
    if any(row.value_size != row.head_size for row in rows):
        keys["d_v"] = [count_text(row.value_size) for row in rows]
    own = [labels.get(row.member, {}) for row in rows]
    names = list(own[0]) if own else []
    one = len({row.mechanism for row in rows}) <= 1
    alike = one and bool(names) and all(list(found) == names for found in own)
    if alike and not set(names) & {*keys, *_COUNTS.values()}:
        return keys | {name: [value_text(found[name]) for found in own] for name in names}
    if not rows or any(row.order is not None for row in rows):
        keys["order"] = [count_text(row.order) for row in rows]
        keys["terms"] = [count_text(row.terms) for row in rows]
    if not one or any(row.order is None for row in rows):
        return {"member": [row.member for row in rows]} | keys
    return keys


def cost_text(counts: Sequence[FeatureCost], mechanisms: Iterable[Described]) -> str:
    """Return the answer in a line: what the member that authors propose costs at the largest head size, or the last."""
    if not counts:
        return "Costs: none are known"
    proposed = {f"{own.name}:{own.axis}={own.proposed}" for own in mechanisms if own.proposed is not None}
    largest = max(cost.head_size for cost in counts)
    own = [cost for cost in counts if cost.head_size == largest]
    chosen = next((cost for cost in own if cost.member in proposed), own[-1])
    state = f"{how_many(chosen.features, 'feature')}, {how_many(chosen.state_elements, 'number')} of state per head"
    pays = context_text(pays_from(chosen))
    return f"Costs: {chosen.member} at d {largest} takes {state}, and pays from {pays} tokens"


def cost_record(cost: FeatureCost) -> dict[str, Any]:
    """Return every number of a row, with the bytes of its state in every format and the reduction by packing."""
    try:
        reduction = None if cost.dense_features is None else cost.dense_features / cost.features
    except OverflowError:  # beyond float64; both integers stand in the record
        reduction = None
    return asdict(cost) | {"reduction": reduction, "state_bytes": _bytes(cost.state_elements)}


def multihead_record(cost: MultiheadCost) -> dict[str, Any]:
    """Return every number of a row: those of one head, and the totals."""
    totals = asdict(cost)
    del totals["head"]
    return cost_record(cost.head) | totals | {"total_state_bytes": _bytes(cost.total_state_elements)}


def _bytes(numbers: int) -> dict[str, int]:
    return {name: stored_bytes(numbers, format_) for name, format_ in FORMATS.items()}
