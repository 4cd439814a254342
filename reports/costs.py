"""Cost tables, and the same as records with raw numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from reports.text import Table, count_text, ratio_text
from verify.families.costs import FeatureCost, MultiheadCost
from verify.numbers.formats import FORMATS, stored_bytes

# What state and cache are stored in, unless said otherwise
STORAGE = "float32"

# n ...: the context at which it and conventional attention cost the same
_COUNTS = {
    "member": "member",
    "head_size": "d",
    "value_size": "d_v",
    "order": "order",
    "terms": "terms",
    "degree_features": "of this degree",
    "features": "features",
    "state_elements": "state",
    "flops_per_token": "FLOPs/token",
    "kv_break_even": "n: memory",
    "flop_break_even": "n: FLOPs",
    "flop_break_even_script": "n: 6nd FLOPs",
    "dense_features": "dense features",
}


def cost_table(costs: Iterable[FeatureCost], storage: str = STORAGE) -> Table:
    """Return one row per head size and order; d_v stands in its own column only where it differs from d."""
    rows = list(costs)
    shown = [name for name in _COUNTS if _shown(name, rows)]
    after_state = shown.index("state_elements") + 1
    dense = "dense_features" in shown
    columns = [_COUNTS[name] for name in shown]
    columns[after_state:after_state] = [f"bytes in {storage}"]
    cells = []
    for row in rows:
        cells.append([row.member if name == "member" else count_text(getattr(row, name)) for name in shown])
        cells[-1].insert(after_state, count_text(stored_bytes(row.state_elements, FORMATS[storage])))
        if row.dense_features is not None:
            cells[-1].append(ratio_text(row.dense_features, row.features))
        cells[-1] += [""] * (len(columns) + dense - len(cells[-1]))
    return Table([*columns, *(["dense/packed"] if dense else [])], cells)


def multihead_table(costs: Iterable[MultiheadCost], storage: str = STORAGE) -> Table:
    """Return one row per width, head size and order: totals over all heads of a layer."""
    rows = list(costs)
    apart = _own_value_sizes([row.head for row in rows])
    columns = ["width", "d", *(["d_v"] if apart else []), "heads", "order", "terms", "features/head", "state"]
    columns += [f"bytes in {storage}", "FLOPs/token", "cache/token", "n: memory", "n: FLOPs", "n: 6nd FLOPs"]
    cells = []
    for row in rows:
        head = row.head
        numbers = [row.width, head.head_size, *([head.value_size] if apart else []), row.heads, head.order, head.terms]
        numbers += [head.features, row.total_state_elements, stored_bytes(row.total_state_elements, FORMATS[storage])]
        numbers += [row.total_flops_per_token, row.kv_cache_per_token, head.kv_break_even, head.flop_break_even]
        cells.append([*map(count_text, numbers), count_text(head.flop_break_even_script)])
    return Table(columns, cells)


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


def _shown(name: str, rows: list[FeatureCost]) -> bool:
    """Say whether a column tells rows apart that nothing else does, or has something to say."""
    if name == "member":  # the order says which member of one mechanism a row is about
        return len({row.mechanism for row in rows}) > 1 or any(row.order is None for row in rows)
    if name == "value_size":
        return _own_value_sizes(rows)
    return not rows or any(getattr(row, name) is not None for row in rows)


def _own_value_sizes(rows: Iterable[FeatureCost]) -> bool:
    return any(row.value_size != row.head_size for row in rows)


def _bytes(numbers: int) -> dict[str, int]:
    return {name: stored_bytes(numbers, format_) for name, format_ in FORMATS.items()}
