"""Draw changes, put each to its tests, print those that go unnoticed, and fail if they are too many."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.changes import PLACES, read_accepted, sample, unmatched
from tests.mutants.processes import copied
from tests.mutants.record import recorded
from tests.mutants.trials import CHOSEN, Trial, failing, tried

ROOT = Path(__file__).parents[2]
COPY = ROOT / "build" / "mutants" / "copy"
ACCEPTED = Path(__file__).with_name("accepted.toml")
COUNT, SEED = 300, 1
LEAST = 0.9  # share of the changes that must be noticed

# Imported once, before the processes fork from this one, which then has to have no threads.
PRELOADED = (
    *("numpy", "scipy.linalg", "scipy.special", "mpmath", "flint", "gmpy2", "sympy", "ml_dtypes", "safetensors"),
    *("threadpoolctl", "hypothesis", "pandas", "matplotlib.pyplot", "typer", "rich.progress", "jinja2", "tabulate"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Try a sample of changes and print what became of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help="how many changes (default %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of the sample (default %(default)s)")
    options = parser.parse_args(arguments)
    os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    for name in PRELOADED:
        importlib.import_module(name)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started ends too

    started = time.monotonic()
    copied(ROOT, COPY)
    accepted = read_accepted(ACCEPTED)
    stale = unmatched(accepted, COPY)
    for entry in stale:
        print(f"accepted, but no change of this code: {entry}")
    record = recorded(COPY, sorted({place.partition("/")[0] for place in PLACES}))
    print(f"{len(record.tests)} tests; which of them execute which lines is known after {_since(started)}", flush=True)
    if record.failed:
        print(f"left out, as they fail without any change: {', '.join(record.failed)}")
    broken = failing([test.name for test in record.chosen(record.tests, CHOSEN)], COPY)
    if broken:
        sys.exit(f"without any change these fail where changes are tried: {', '.join(broken)}")

    keys = {entry.key for entry in accepted}
    trials: list[Trial] = []
    for change in sample(COPY, options.count, options.seed):
        trials.append(tried(change, record, COPY))
        if not trials[-1].in_time:
            print(f"not in time: {trials[-1]}", flush=True)
        elif not trials[-1].noticed and change.key not in keys:
            print(f"unnoticed: {trials[-1]}", flush=True)
        if sys.stderr.isatty():
            print(f"\r{len(trials)} of {options.count}", end="", file=sys.stderr, flush=True)
    unsteady = failing(sorted({trial.by for trial in trials if trial.by}), COPY)
    for trial in trials:
        if trial.by in unsteady:
            print(f"unnoticed, as {trial.by} fails without it: {trial}")

    noticed = sum(trial.noticed and trial.by not in unsteady for trial in trials)
    passed = sum(not trial.noticed and trial.change.key in keys for trial in trials)
    late = sum(trial.noticed and not trial.in_time for trial in trials)
    share = noticed / max(1, len(trials) - passed)
    print(f"{noticed} of {len(trials) - passed} changes noticed ({share:.1%}), {late} of them by not ending in time")
    print(f"{passed} more went unnoticed and are accepted; seed {options.seed}, {_since(started)}")
    sys.exit(0 if share >= LEAST and not stale else 1)


def _since(started: float) -> str:
    return f"{(time.monotonic() - started) / 60:.0f} min"


if __name__ == "__main__":
    main()
