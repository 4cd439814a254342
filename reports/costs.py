"""Cost tables."""

from __future__ import annotations

from collections.abc import Iterable

from reports.text import Table, count_text
from verify.cost import TaylorCost

# n ...: the context at which Taylor attention and conventional attention cost the same
COLUMNS = {
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


def cost_table(costs: Iterable[TaylorCost]) -> Table:
    """Return one row per head size and order; d_v stands in its own column only where it differs from d."""
    rows = list(costs)
    shown = [name for name in COLUMNS if name != "value_size" or any(c.value_size != c.head_size for c in rows)]
    return Table(
        [COLUMNS[name] for name in shown], [[count_text(getattr(cost, name)) for name in shown] for cost in rows]
    )
