"""Measure every ratio, print each as it is found, and say what it was measured on."""

from __future__ import annotations

from threadpoolctl import threadpool_limits

from tests.benchmarks import truth
from verify.executors import cores
from verify.sweep.provenance import machine


def main() -> None:
    """Print machine and threads, then a line for each ratio."""
    facts = machine()
    versions = ", ".join(f"{name} {facts['versions'][name]}" for name in ("python", "python-flint", "mpmath", "numpy"))
    print(f"{facts['processor'] or facts['machine']}, {cores()} cores, one thread each; {versions}")
    print("median of the ratios of turns (least .. most), median times, bound")
    with threadpool_limits(limits=1):
        for ratio in truth.ratios():
            print(ratio, flush=True)


if __name__ == "__main__":
    main()
