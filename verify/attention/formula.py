"""The formula of a mechanism on one query of a head, in any field: the one place where accounts ask for weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from verify.attention.contract import Member
from verify.numbers.fields import Field, Number
from verify.problem import Head


def row_weights(
    f: Field,
    head: Head,
    row: int,
    tokens: tuple[Sequence[Number], Sequence[Sequence[Number]]],
    seen: NDArray[np.int64],
    scale: Number,
    member: Member,
) -> list[Number]:
    """Return the weights of the keys that a query sees, up to a factor; that of a sink comes last.

    tokens: the query and the keys that are attended, in the field.  seen: the places of those keys.
    """
    query, keys = tokens
    if not head.adjusts and head.sink is None:
        return member.mechanism.weights(f, query, keys, scale, member)
    logits = [f.dot(query, key) * scale for key in keys]
    if head.softcap is not None:
        cap = f.exact(head.softcap)
        logits = [f.tanh(s / cap) * cap for s in logits]
    if head.bias is not None:
        logits = [s + f.exact(float(head.bias[row, t])) for s, t in zip(logits, seen, strict=True)]
    if head.slope is not None:
        distances = head.distances(slice(row, row + 1))[0]
        logits = [s - f.exact(head.slope) * f.ratio(int(distances[t])) for s, t in zip(logits, seen, strict=True)]
    if head.sink is not None:
        logits.append(f.exact(head.sink))
    return member.mechanism.row(f, logits, member)
