"""Measure every ratio, print each as it is found, say what it was measured on, and fail if one is missed."""

from __future__ import annotations

import sys

from threadpoolctl import threadpool_limits

from tests.benchmarks import attention, truth
from verify.executors import cores
from verify.sweep.provenance import machine


def main() -> None:
    """Print machine and threads, then a line for each ratio."""
    facts = machine()
    names = ("python", "python-flint", "mpmath", "gmpy2", "numpy")
    versions = ", ".join(f"{name} {facts['versions'][name]}" for name in names)
    print(f"{facts['processor'] or facts['machine']}, {cores()} cores; {versions}")
    print("median of the ratios of turns (least .. most), median times, bound")
    held = []
    for module, threads in ((attention, 2), (truth, 1)):
        with threadpool_limits(limits=threads):
            print(f"BLAS threads: {threads}")
            for ratio in module.ratios():
                print(ratio, flush=True)
                held.append(ratio.holds)
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
