"""Ratios of times: two calls take turns, and every turn gives one ratio."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Ratio:
    """How long `slow` takes as a multiple of `fast`, turn by turn.

    bound: what the ratio is to be at least, or at most.
    """

    name: str
    bound: str
    slow: list[float]
    fast: list[float]

    @property
    def ratios(self) -> list[float]:
        """The ratios in the order of the turns."""
        return [a / b for a, b in zip(self.slow, self.fast, strict=True)]

    @property
    def holds(self) -> bool:
        """Whether the median ratio is within the bound."""
        kind, limit = self.bound.rsplit(" ", 1)
        found = median(self.ratios)
        return found >= float(limit) if kind == "at least" else found <= float(limit)

    def __str__(self) -> str:
        turns = f"{min(self.ratios):.2f} .. {max(self.ratios):.2f} in {len(self.ratios)} turns"
        times = f"{median(self.slow):.3g} s / {median(self.fast):.3g} s"
        verdict = "holds" if self.holds else "missed"
        return f"{self.name}: {median(self.ratios):.2f} ({turns}; {times}); {self.bound}: {verdict}"


def measured(name: str, bound: str, slow: Callable[[], object], fast: Callable[[], object], *, turns: int = 5) -> Ratio:
    """Time two calls in turns; the first turn, which warms up, does not count."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(turns + 1):
        for call, kept in zip((slow, fast), times, strict=True):
            started = time.perf_counter()
            call()
            if turn:
                kept.append(time.perf_counter() - started)
    return Ratio(name, bound, *times)
