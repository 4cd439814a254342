"""Run a sweep: find what is missing, measure it on an executor, commit every cell."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import closing
from dataclasses import dataclass, field, replace

from verify.attention.contract import Mechanism, Member
from verify.errors import InvalidRequestError
from verify.inputs import InputSource
from verify.measure.cell import Cell, require_attending
from verify.mechanisms.loading import explained
from verify.parallel.executors import Executors, ended_pool, submitted
from verify.problem import Problem
from verify.sweep.portraying import portrait
from verify.sweep.provenance import machine
from verify.sweep.record import Record, Status
from verify.sweep.spec import SweepSpec, cell_key
from verify.sweep.store import RunFile
from verify.sweep.task import Measured, Task, blank_record, ended, measure

Progress = Callable[[int, int, str], None]
Results = list[Measured]

# The exact values of one order take about a microsecond a pair, and the quadratic forms hold three numbers a pair.
MOST_PAIRS = 1 << 25

# Tasks handed to the executor and not finished yet: results do not pile up, and few are suspects when a worker dies.
QUEUE = 8


@dataclass
class SweepSummary:
    """What a sweep did: cells asked for, found finished already and measured now; and how all of them ended.

    digests: that of every input, in the order of the spec.  faults: of cells that failed or crashed, by cause, the
    first cell and its reason, and how many there are.  refusals: the same of cells that were refused.
    """

    cells: int = 0
    reused: int = 0
    measured: int = 0
    by_status: dict[str, int] = field(default_factory=lambda: {status.value: 0 for status in Status})
    digests: list[str] = field(default_factory=list)
    faults: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    refusals: dict[str, tuple[str, str, int]] = field(default_factory=dict)

    def count(self, record: Record) -> None:
        """Count how a cell ended, and why if it was not measured."""
        self.by_status[record.status] += 1
        if record.status != Status.OK:
            reasons = self.refusals if record.status == Status.REFUSED else self.faults
            new = f"{record.input}: {record.member}/{record.form}", record.reason, 0
            first, reason, times = reasons.get(record.cause, new)
            reasons[record.cause] = first, reason, times + 1


def cell_keys(spec: SweepSpec, digests: Iterable[str]) -> Iterator[str]:
    """Yield the key of every cell of a sweep whose inputs have these digests."""
    for source, digest in zip(spec.inputs, digests, strict=True):
        for cell in spec.cells():
            yield cell_key(cell, source, digest)


def run_sweep(
    spec: SweepSpec,
    store: Callable[[], RunFile],
    executor: Executors,
    *,
    started: str,
    command: str,
    progress: Progress = lambda done, total, label: None,
    planned: Callable[[InputSource, Problem], None] = lambda source, problem: None,
) -> SweepSummary:
    """Measure every cell of the spec that the run file does not hold yet, and commit each as it is finished.

    store opens the run file, after the inputs have been checked; executor makes a pool, once at first and again when
    a dying worker has broken it.  started and command are kept as provenance.  progress is told cells finished, cells
    in all and the input last finished.  planned is told every input as it was read, before anything is measured.

    Raises InvalidRequestError for inputs or a run file that cannot be used: then nothing has been written.
    """
    plans = [_plan(source, planned) for source in spec.inputs]
    summary = SweepSummary(digests=[task.blank.digest for _, task in plans])
    with store() as run:
        tasks = []
        for work, task in plans:
            missing = []
            for cell in spec.cells():
                status = run.status(_key(task, cell))
                summary.cells += 1
                if status is None or status == Status.CRASHED:
                    missing.append(cell)
                    continue
                summary.reused += 1
                unmeasured = None if status == Status.OK else run.record(_key(task, cell))
                if unmeasured is None:
                    summary.by_status[status] += 1
                else:
                    summary.count(unmeasured)
            if missing:
                tasks.append((work, replace(task, cells=tuple(missing))))
        if not tasks:
            return summary
        run.begin(started, {"command": command, "spec": spec.describe(), "machine": machine()})
        members: dict[Mechanism, list[Member]] = {}
        for member in dict.fromkeys(cell.member for cell in spec.cells()):
            members.setdefault(member.mechanism, []).append(member)
        for mechanism, own in members.items():
            with explained(mechanism):
                run.describe(mechanism.descriptor(), [portrait(member) for member in own])
        progress(0, summary.cells - summary.reused, "")
        tasks.sort(key=lambda item: -item[0])  # the longest first, so that no core idles at the end
        with closing(_executed([task for _, task in tasks], executor)) as finished:
            for task, results in finished:
                for found in results:
                    run.write(_key(task, found.cell), found.record, found.seconds)
                    summary.measured += 1
                    summary.count(found.record)
                progress(summary.measured, summary.cells - summary.reused, task.source.name)
    return summary


def _key(task: Task, cell: Cell) -> str:
    return cell_key(cell, task.source, task.blank.digest)


def _plan(source: InputSource, planned: Callable[[InputSource, Problem], None]) -> tuple[int, Task]:
    """Load an input once to check it, and tell of it; return its work, heads n_q n_k d_k, and a task without cells."""
    problem = source.load()
    require_attending(problem)
    pairs = problem.heads * problem.queries * problem.keys
    if pairs > MOST_PAIRS:
        raise InvalidRequestError(
            f"{problem.name} with {pairs:,} query-key pairs",
            f"at most {MOST_PAIRS:,}",
            "take fewer tokens (--tokens) or heads",
        )
    planned(source, problem)
    return pairs * problem.head_size, Task(source, blank_record(source, problem), ())


def _executed(tasks: list[Task], executor: Executors) -> Generator[tuple[Task, Results], None, None]:
    """Yield finished tasks as they come.

    When a worker dies, the tasks that were under way are taken up alone, one after the other, and the rest goes on in a
    new pool.
    """
    waiting = deque(tasks)
    while waiting:
        suspects: list[Task] = []
        yield from _shared(waiting, executor, suspects)
        for task in suspects:
            yield from _alone(task, executor)


def _shared(waiting: deque[Task], executor: Executors, suspects: list[Task]) -> Iterator[tuple[Task, Results]]:
    """Take tasks from the queue until it is empty or the pool breaks; those under way then become suspects."""
    with ended_pool(executor) as pool:
        pending: dict[Future[Results], Task] = {}
        while pending or (waiting and not suspects):
            while waiting and not suspects and len(pending) < QUEUE:
                task = waiting.popleft()
                try:
                    future = submitted(pool, measure, task)
                except BrokenExecutor:  # a worker died between two tasks
                    waiting.appendleft(task)
                    if not pending:
                        return
                    break
                pending[future] = task
                if future.done():
                    break  # a pool that runs calls at once has its results committed one by one
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                task = pending.pop(future)
                if isinstance(future.exception(), BrokenExecutor):
                    suspects.append(task)
                else:
                    yield task, _outcome(task, future)


def _alone(task: Task, executor: Executors) -> Iterator[tuple[Task, Results]]:
    """Measure one task in a pool of its own; if that dies too, its cells one by one, to find the one that kills it."""
    with ended_pool(executor) as pool:
        future = submitted(pool, measure, task)
        broken = isinstance(future.exception(), BrokenExecutor)
        if not broken or len(task.cells) == 1:
            yield task, _outcome(task, future)
            return
    for cell in task.cells:
        yield from _alone(replace(task, cells=(cell,)), executor)


def _outcome(task: Task, future: Future[Results]) -> Results:
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, BrokenExecutor):
        reason = "the process that measured it died (out of memory, or an abort inside a library)"
    else:
        reason = f"{type(error).__name__}: {error}"
    return [Measured(cell, ended(task.blank, cell, Status.CRASHED, reason=reason), None) for cell in task.cells]
