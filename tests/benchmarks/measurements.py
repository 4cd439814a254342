"""What is measured: values with a bound. Times are ratios of two calls that take turns."""

from __future__ import annotations

import multiprocessing
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from threadpoolctl import threadpool_limits

from reports.benchmarks import within
from verify.parallel.executors import worker_pool

MEGABYTE = 10**6


@dataclass(frozen=True)
class Measurement:
    """Values of one quantity, one for each turn, of which the median has to be within the bound.

    bound: what it is to be at least, or at most, in the unit.  times: the seconds that ratios were taken of, in turns.
    """

    name: str
    bound: str
    values: list[float]
    unit: str = ""
    times: dict[str, list[float]] = field(default_factory=dict)

    @property
    def middle(self) -> float:
        """The median."""
        return float(median(self.values))

    @property
    def holds(self) -> bool:
        """Whether the median is within the bound; NaN is not."""
        return within(self.values, self.bound)

    def document(self, threads: int) -> dict[str, Any]:
        """Return the members of the file that a report shows."""
        return {
            "name": self.name,
            "bound": self.bound,
            "values": self.values,
            "unit": self.unit,
            "times": self.times,
            "threads": threads,
        }

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        spread = f"{min(self.values):.3g} .. {max(self.values):.3g} in {len(self.values)} turns"
        times = "".join(f"; {name} {median(seconds):.3g} s" for name, seconds in self.times.items())
        verdict = "holds" if self.holds else "missed"
        return f"{self.name}: {self.middle:.3g}{unit} ({spread}{times}); {self.bound}: {verdict}"


def ratio(
    name: str, bound: str, slow: Callable[[], object], fast: Callable[[], object], *, turns: int = 5
) -> Measurement:
    """Time two calls in turns; the first turn, which warms up, does not count."""
    times: dict[str, list[float]] = {"one": [], "other": []}
    for turn in range(turns + 1):
        for call, kept in zip((slow, fast), times.values(), strict=True):
            started = time.perf_counter()
            call()
            if turn:
                kept.append(time.perf_counter() - started)
    return Measurement(name, bound, [a / b for a, b in zip(*times.values(), strict=True)], times=times)


def peak_growth(call: Callable[..., object], *arguments: object, threads: int) -> float:
    """Return by how many bytes a process of its own grows at its peak while it makes the call; Linux only."""
    with worker_pool(1) as pool:
        return pool.submit(_peak_growth, call, arguments, threads).result()


def _peak_growth(call: Callable[..., object], arguments: tuple[object, ...], threads: int) -> float:
    assert multiprocessing.parent_process() is not None  # a process that has done other work says nothing
    with threadpool_limits(limits=threads):
        before = _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        call(*arguments)
        return _status("VmHWM") - before


def _status(name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return 1024.0 * int(found[1])
