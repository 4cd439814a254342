"""What a form costs, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """What a form holds and executes for one head, by formulas; None where nothing is published or derived.

    features: per key.  state_elements: numbers kept from token to token.  flops_per_token: at the problem's n_k.
    """

    features: int | None
    state_elements: int
    flops_per_token: int | None
