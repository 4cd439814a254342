"""attnproof features: feature, state and FLOP counts from the published formulas."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from cli.text import LARGEST_SIZE, integer, integers, print_json

# d^512 at the largest head size has 2,467 digits, and Python prints no integer of more than 4,300
ORDER_LIMIT = 512


def features(
    head_sizes: Annotated[str, typer.Option(help="Head sizes of queries and keys.")] = "8,16,32,64,128",
    orders: Annotated[str, typer.Option(help="Taylor orders (highest power kept, terms - 1).")] = "0:7",
    value_size: Annotated[str | None, typer.Option(help="Size of a value.  [default: the head size]")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
) -> None:
    """Count features, state and FLOPs.

    Of Taylor attention, from the published formulas, and the context at which it meets conventional attention.
    """
    from reports.costs import cost_table
    from verify.cost import taylor_cost

    d_v = None if value_size is None else integer(value_size, "value size", least=1, most=LARGEST_SIZE)
    rows = [
        taylor_cost(head_size, order, d_v)
        for head_size in integers(head_sizes, "head size", least=1, most=LARGEST_SIZE)
        for order in integers(orders, "order", least=0, most=ORDER_LIMIT)
    ]
    if json_:
        print_json({"rows": [asdict(row) for row in rows]})
    else:
        print(cost_table(rows).plain())
