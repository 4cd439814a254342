"""Sweeps: what to measure, the measuring, and the run file that keeps every finished cell."""

from verify.sweep.record import ERRORS, Record, Status
from verify.sweep.runner import SweepSummary, cell_keys, run_sweep
from verify.sweep.spec import SweepSpec
from verify.sweep.store import RunFile, Session

__all__ = [
    "ERRORS",
    "Record",
    "RunFile",
    "Session",
    "Status",
    "SweepSpec",
    "SweepSummary",
    "cell_keys",
    "run_sweep",
]
