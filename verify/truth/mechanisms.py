"""Which exact functions there are, and which of them take an order."""

from __future__ import annotations

import numpy as np

from verify.errors import InvalidRequestError

MECHANISMS = ("softmax", "logexp", "taylor")


def check_mechanism(mechanism: str, order: int | None) -> None:
    """Raise InvalidRequestError unless the mechanism exists and order is given exactly where it belongs."""
    if mechanism not in MECHANISMS:
        raise InvalidRequestError(
            f"unknown mechanism {mechanism!r}", "one of " + ", ".join(MECHANISMS), "choose one of these"
        )
    if mechanism != "taylor" and order is not None:
        raise InvalidRequestError(f"order {order} with {mechanism}", "an order with taylor only", "leave the order out")
    if mechanism == "taylor":
        check_order(order)


def undefined_mechanism(mechanism: str, what: str) -> InvalidRequestError:
    """Return what is to be raised where a mechanism has no such account: it is never taken for another one."""
    return InvalidRequestError(
        f"mechanism {mechanism!r}, which has no {what}", "one that has", "give the mechanism this account too"
    )


def check_order(order: int | None) -> None:
    """Raise InvalidRequestError unless order, the highest power kept, is an integer of at least 0."""
    if not isinstance(order, int | np.integer) or isinstance(order, bool) or order < 0:
        raise InvalidRequestError(
            f"order {order} for taylor", "an integer of at least 0", "give the highest power kept (terms - 1)"
        )
