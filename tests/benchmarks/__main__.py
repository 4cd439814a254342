"""Measure everything, print each result as it is found, write all to a file, and fail if a bound is missed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from threadpoolctl import threadpool_limits

from tests.benchmarks import attention, truth
from verify.files.placing import place
from verify.parallel.executors import cores
from verify.sweep.provenance import machine

RESULTS = Path("build/bench.json")


def main() -> None:
    """Print machine and threads, then a line for each measurement; write them to RESULTS."""
    facts = machine() | {"cores": cores()}
    names = ("python", "python-flint", "mpmath", "gmpy2", "numpy")
    versions = ", ".join(f"{name} {facts['versions'][name]}" for name in names)
    print(f"{facts['processor'] or facts['machine']}, {cores()} cores; {versions}")
    print("median of the turns (least .. most; median times), bound")
    found, held = [], []
    for module, threads in ((attention, attention.THREADS), (truth, 1)):
        with threadpool_limits(limits=threads):
            print(f"BLAS threads: {threads}")
            for measurement in module.measurements():
                print(measurement, flush=True)
                found.append(measurement.document(threads))
                held.append(measurement.holds)
    document = {"version": 1, "machine": facts, "measurements": found}
    RESULTS.parent.mkdir(exist_ok=True)
    place(RESULTS, lambda file: file.write(json.dumps(document, indent=1).encode()), overwrite=True)
    print(f"file: {RESULTS}")
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
