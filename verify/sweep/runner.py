"""Run a sweep: find what is missing, measure it on an executor, commit every cell."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any

from verify.errors import InvalidRequestError
from verify.inputs import InputSource
from verify.sweep.measure import Task, crashed_record, measure
from verify.sweep.provenance import code_digest, machine
from verify.sweep.record import Record, Status
from verify.sweep.spec import Cell, SweepSpec
from verify.sweep.store import RunFile

Progress = Callable[[int, int, str], None]

# The exact values of one order take about a microsecond a pair, and the quadratic forms hold three numbers a pair.
MOST_PAIRS = 1 << 27

# Tasks handed to the executor and not finished yet.
QUEUE = 64


@dataclass
class SweepSummary:
    """What a sweep did: cells asked for, found finished already and measured now; and how all of them ended.

    digests: that of every input, in the order of the spec.
    """

    cells: int = 0
    reused: int = 0
    measured: int = 0
    by_status: dict[str, int] = field(default_factory=lambda: {status.value: 0 for status in Status})
    digests: list[str] = field(default_factory=list)


def cell_keys(spec: SweepSpec, digests: Iterable[str]) -> Iterator[str]:
    """Yield the key of every cell of a sweep over inputs with these digests."""
    for digest in digests:
        for cell in spec.cells():
            yield cell.key(digest, code_digest())


class InProcessExecutor(Executor):
    """Runs each call at once in the calling thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call fn now and return the finished future."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # it belongs to whoever asks the future, as in any executor
            future.set_exception(error)
        return future


def worker_pool(workers: int) -> ProcessPoolExecutor:
    """Return a pool of spawned processes (forking with linear algebra threads alive can deadlock)."""
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_quiet_interrupt)


def _quiet_interrupt() -> None:
    # Ctrl-C reaches every process of the terminal's group; a worker just ends, the parent reports
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run_sweep(
    spec: SweepSpec,
    store: Callable[[], RunFile],
    executor: Callable[[], Executor],
    *,
    started: str,
    command: str,
    progress: Progress = lambda done, total, label: None,
) -> SweepSummary:
    """Measure every cell of the spec that the run file does not hold yet, and commit each as it is finished.

    store opens the run file, after the inputs have been checked; executor makes a pool, once at first and once more for
    each task that a dying worker took with it.  started and command are kept as provenance.  progress is told cells
    finished, cells in all and the input last finished.

    Raises InvalidRequestError for inputs or a run file that cannot be used: then nothing has been written.
    """
    planned = [_plan(source) for source in spec.inputs]
    summary = SweepSummary(digests=[task.digest for _, task in planned])
    with store() as run:
        tasks = []
        for work, task in planned:
            missing = []
            for cell in spec.cells():
                status = run.status(cell.key(task.digest, code_digest()))
                summary.cells += 1
                if status is None or status == Status.CRASHED:
                    missing.append(cell)
                else:
                    summary.reused += 1
                    summary.by_status[status] += 1
            if missing:
                tasks.append((work, replace(task, cells=tuple(missing))))
        if not tasks:
            return summary
        run.begin(started, {"command": command, "spec": spec.describe(), "machine": machine()})
        progress(0, summary.cells - summary.reused, "")
        tasks.sort(key=lambda item: -item[0])  # the longest first, so that no core idles at the end
        for task, records in _executed([task for _, task in tasks], executor):
            for cell, record in records:
                run.write(cell.key(task.digest, code_digest()), record)
                summary.measured += 1
                summary.by_status[record.status] += 1
            progress(summary.measured, summary.cells - summary.reused, task.source.name)
    return summary


def _plan(source: InputSource) -> tuple[int, Task]:
    """Load an input once to check it; return its work, heads n_q n_k d_k, and a task without cells."""
    problem = source.load()
    if not problem.attended_rows.any():
        raise InvalidRequestError(
            f"{problem.name} in which no query attends to any key", "at least one attended key", "check mask and shapes"
        )
    pairs = problem.heads * problem.queries * problem.keys
    if pairs > MOST_PAIRS:
        raise InvalidRequestError(
            f"{problem.name} with {pairs:,} query-key pairs", f"at most {MOST_PAIRS:,}", "take fewer tokens or heads"
        )
    return pairs * problem.head_size, Task(source, problem.digest, ())


def _executed(tasks: list[Task], executor: Callable[[], Executor]) -> Iterator[tuple[Task, list[tuple[Cell, Record]]]]:
    """Yield finished tasks as they come; those lost with a dead worker are tried once more, each on its own."""
    lost: list[Task] = []
    with executor() as pool:
        pending: dict[Future[list[tuple[Cell, Record]]], Task] = {}

        def finished(timeout: float | None) -> Iterator[tuple[Task, list[tuple[Cell, Record]]]]:
            for future in wait(pending, timeout, FIRST_COMPLETED).done:
                task = pending.pop(future)
                if isinstance(future.exception(), BrokenExecutor):
                    lost.append(task)
                else:
                    yield task, _outcome(task, future)

        try:
            for position, task in enumerate(tasks):
                try:
                    pending[pool.submit(measure, task)] = task
                except BrokenExecutor:
                    lost.extend(tasks[position:])
                    break
                # a bounded queue: results do not pile up, and a pool that runs calls at once commits them one by one
                yield from finished(None if len(pending) >= QUEUE else 0)
            while pending:
                yield from finished(None)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise
    for task in lost:
        with executor() as pool:
            yield task, _outcome(task, pool.submit(measure, task))


def _outcome(task: Task, future: Future[list[tuple[Cell, Record]]]) -> list[tuple[Cell, Record]]:
    error = future.exception()
    if error is None:
        return future.result()
    problem = task.source.load()
    if isinstance(error, BrokenExecutor):
        reason = "the process that measured it died (out of memory, or an abort inside a library)"
    else:
        reason = f"{type(error).__name__}: {error}"
    return [(cell, crashed_record(task.source, problem, cell, reason)) for cell in task.cells]
