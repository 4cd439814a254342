"""Sweeps: what to measure, the measuring, and the run file that keeps every finished cell."""

from typing import TYPE_CHECKING

from verify.on_use import on_use

if TYPE_CHECKING:
    from verify.sweep.record import ERRORS, Record, Status
    from verify.sweep.runner import SweepSummary, cell_keys, run_sweep
    from verify.sweep.spec import SweepSpec
    from verify.sweep.store import RunFile, Session
    from verify.sweep.tasks import Limits

__all__ = [
    "ERRORS",
    "Limits",
    "Record",
    "RunFile",
    "Session",
    "Status",
    "SweepSpec",
    "SweepSummary",
    "cell_keys",
    "run_sweep",
]

__getattr__, __dir__ = on_use(
    __name__,
    {
        "ERRORS": "record",
        "Record": "record",
        "RunFile": "store",
        "Session": "store",
        "Status": "record",
        "SweepSpec": "spec",
        "SweepSummary": "runner",
        "Limits": "tasks",
        "cell_keys": "runner",
        "run_sweep": "runner",
    },
)
