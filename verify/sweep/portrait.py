"""What is known of a member without any input: its weight as a function of the logit, and what its features cost."""

from __future__ import annotations

from dataclasses import dataclass

from verify.families.costs import FeatureCost

# Logits at which weights are drawn; a shift of all logits changes no output, so these stand for what differs in a row.
LOGITS = tuple(x / 4 for x in range(-32, 33))


@dataclass(frozen=True)
class Portrait:
    """A member by itself.

    member: its name.  weights: of the logits in LOGITS, divided by that of the logit 0 where this is not zero; empty
    where weights are no function of logits.  costs: of its features at several head sizes; empty where it has none.
    """

    member: str
    weights: tuple[float, ...]
    costs: tuple[FeatureCost, ...]
