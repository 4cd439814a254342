"""The state of Taylor attention."""

from __future__ import annotations

from verify.attention.memory import MEMORY_LIMIT
from verify.attention.state import checked_settings
from verify.families.polynomial.state import PolynomialState
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.formats import Format


class TaylorState(PolynomialState):
    """The state of Taylor attention: S = sum_t Phi(k_t) v_t^T and z = sum_t Phi(k_t), SA (A2), up to an order.

    (d_v + 1) C(d_k + order, order) numbers, SA (13), for each of the leading dimensions, whatever the context.

    Settings and errors are those of `PolynomialState`, with the order instead of a member.

        state = TaylorState(64, 64, order=2)
        state.update(k, v)
        state.read(q).value
    """

    mechanism = "taylor"
    known_settings = (
        *("head_size", "value_size", "order", "lead", "scale", "arithmetic", "storage", "compensated", "one_by_one"),
        *("side", "degrees"),
    )

    def __init__(
        self,
        head_size: int,
        value_size: int,
        order: int,
        *,
        lead: tuple[int, ...] = (),
        scale: float | None = None,
        arithmetic: str | Arithmetic = "float64",
        storage: str | Format | None = None,
        compensated: bool = False,
        one_by_one: bool = False,
        side: str = "query",
        degrees: str = "together",
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        given = {
            "head_size": head_size,
            "value_size": value_size,
            "order": order,
            "lead": lead,
            "scale": scale,
            "arithmetic": arithmetic,
            "storage": storage,
            "compensated": compensated,
            "one_by_one": one_by_one,
            "side": side,
            "degrees": degrees,
        }
        settings = checked_settings(**given)
        self._keep(settings, settings["order"], None, memory_limit)
