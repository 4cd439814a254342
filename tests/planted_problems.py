"""Forms that are right but for a part of the problem that they overlook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.planting import Bell, Changes, Planted, asked
from verify.attention.contract import Form

# By what is overlooked: what stands in its place, and the case that shows it.
OVERLOOKED: dict[str, tuple[dict[str, Any], str]] = {
    "soft cap": ({"softcap": None}, "soft cap, bias and slopes"),
    "bias": ({"bias": None}, "soft cap, bias and slopes"),
    "slopes": ({"alibi_slopes": None}, "soft cap, bias and slopes"),
    "sinks": ({"sinks": None}, "sinks and dropout"),
    "dropout": ({"dropout_mask": None, "dropout": 0.0}, "sinks and dropout"),
    "share that dropout keeps": ({"dropout": 0.0}, "sinks and dropout"),
    "window": ({"window": None}, "window and lengths"),
    "lengths": ({"lengths": None}, "window and lengths"),
    "segments": ({"segments": None}, "segments"),
}


def overlooking(changes: dict[str, Any]) -> Callable[[Form], Changes]:
    """Let a form compute the problem with something else in a part's place."""
    return asked(lambda problem, member: (problem.but(**changes), member))


PROBLEMS = {
    f"{what} overlooked": Planted(Bell, "forms", f"on '{case}': element", form=overlooking(changes))
    for what, (changes, case) in OVERLOOKED.items()
}
