"""Finding out what is known of a member without any input."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from verify.attention.contract import Member
from verify.families.costs import FeatureCost, counts_of
from verify.numbers.fields import FloatField
from verify.sweep.portrait import LOGITS, Portrait

# Head sizes, d_k = d_v, for which costs are drawn: those of SA's multi-head figure.
HEAD_SIZES = tuple(range(8, 65, 8))


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
