"""What is known of a member without any input: its weight as a function of the logit, and what its features cost."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from verify.attention.contract import Member
from verify.families.costs import FeatureCost, counts_of
from verify.numbers.fields import FloatField

# Logits at which weights are drawn; a shift of all logits changes no output, so these stand for what differs in a row.
LOGITS = tuple(x / 4 for x in range(-32, 33))

# Head sizes, d_k = d_v, for which costs are drawn: those of SA's multi-head figure.
HEAD_SIZES = tuple(range(8, 65, 8))


@dataclass(frozen=True)
class Portrait:
    """A member by itself.

    member: its name.  weights: of the logits in LOGITS, divided by that of the logit 0 where this is not zero; empty
    where weights are no function of logits.  costs: of its features at HEAD_SIZES; empty where it has none.
    """

    member: str
    weights: tuple[float, ...]
    costs: tuple[FeatureCost, ...]


def portrait(member: Member) -> Portrait:
    """Return what is known of a member without any input: nothing, where its mechanism raises or gives nonsense.

    The cells of such a mechanism fail by themselves, with the reason.
    """
    costs: list[FeatureCost | None] = []
    weights: tuple[float, ...] = ()
    with suppress(Exception):
        costs = [counts_of(member, size, size) for size in HEAD_SIZES]
    with suppress(Exception):
        weights = _weights(member)
    return Portrait(member.name, weights, tuple(cost for cost in costs if cost is not None))


def _weights(member: Member) -> tuple[float, ...]:
    if not member.mechanism.of_logits:
        return ()
    with np.errstate(all="ignore"):
        field = FloatField()
        found = [float(w) for w in member.mechanism.row(field, [field.exact(s) for s in LOGITS], member)]
    middle = found[LOGITS.index(0.0)]
    return tuple(w / middle for w in found) if middle else tuple(found)
