"""Run a sweep: find what is missing, do the work in pieces on an executor, commit every cell."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import closing
from dataclasses import asdict, dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any

from verify.attention.contract import Mechanism, Member
from verify.errors import InvalidRequestError
from verify.inputs import InputSource
from verify.measure.cell import Cell
from verify.measure.exact import require_attending
from verify.measure.portion import BLOCK_PAIRS, block_bounds, measured_rows
from verify.mechanisms.loading import explained
from verify.parallel.executors import Executors, ended_pool, submitted
from verify.problem import Problem
from verify.sweep.inputwork import Ended, InputWork, Piece, smaller
from verify.sweep.interim import KeptBlocks
from verify.sweep.portraying import portrait
from verify.sweep.provenance import machine
from verify.sweep.record import Record, Status
from verify.sweep.recording import blank_record
from verify.sweep.spec import SweepSpec, cell_key
from verify.sweep.store import RunFile
from verify.sweep.tasks import Failure, Limits, Subject, Task, done

Progress = Callable[[int, int, str], None]

# Pieces handed to the executor and not finished yet: results do not pile up, and few are suspects when a worker dies.
QUEUE = 4

DIED = "the process that measured it died (out of memory, or an abort inside a library)"


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
            yield cell_key(cell, source, digest, spec.rows)


def run_sweep(
    spec: SweepSpec,
    store: Callable[[], RunFile],
    executor: Executors,
    *,
    started: str,
    command: str,
    progress: Progress = lambda done, total, label: None,
    planned: Callable[[InputSource, Problem], None] = lambda source, problem: None,
    block_pairs: int = BLOCK_PAIRS,
    limits: Limits | None = None,
) -> SweepSummary:
    """Measure every cell of the spec that the run file does not hold yet, and commit each as it is finished.

    What crashed is tried again, and what was refused under other limits.

    store opens the run file, after the inputs have been checked; executor makes a pool, once at first and again when
    a dying worker has broken it.  started and command are kept as provenance.  progress is told cells finished, cells
    in all and the input last finished.  planned is told every input as it was read, before anything is measured.
    block_pairs: the size of blocks, which changes nothing; see `verify.measure.portion.portions`.  limits: of each
    cell; None for none but those that forms set themselves.

    Raises InvalidRequestError for inputs or a run file that cannot be used: then nothing has been written.
    """
    limits = Limits() if limits is None else limits
    plans = [plan_of(source, spec.rows, block_pairs, planned, limits) for source in spec.inputs]
    summary = SweepSummary(digests=[plan.blank.digest for plan in plans])
    with store() as run:
        works = []
        refused_under = {session.number: session.provenance.get("limits") for session in run.sessions()}
        for plan in sorted(plans, key=lambda plan: -plan.work):  # the longest first: no core idles at the end
            missing = []
            for cell in spec.cells():
                key = plan.key(cell)
                status, session = run.ended(key)
                summary.cells += 1
                again = status == Status.REFUSED and refused_under.get(session) != asdict(limits)
                if status is None or status == Status.CRASHED or again:
                    missing.append(cell)
                    continue
                summary.reused += 1
                unmeasured = None if status == Status.OK else run.record(key)
                if unmeasured is None:
                    summary.by_status[status] += 1
                else:
                    summary.count(unmeasured)
            if missing:
                works.append(
                    (plan, InputWork(plan.subject, plan.blank, missing, plan.bounds, KeptBlocks(run, plan.subject)))
                )
        if not works:
            return summary
        about = {"command": command, "spec": spec.describe(), "limits": asdict(limits), "machine": machine()}
        run.begin(started, about)
        members: dict[Mechanism, list[Member]] = {}
        for member in dict.fromkeys(cell.member for cell in spec.cells()):
            members.setdefault(member.mechanism, []).append(member)
        for mechanism, own in members.items():
            with explained(mechanism):
                run.describe(mechanism.descriptor(), [portrait(member) for member in own])
        progress(0, summary.cells - summary.reused, "")
        with closing(_executed([work for _, work in works], executor)) as finished:
            for place, ended in finished:
                plan = works[place][0]
                run.write(plan.key(ended.cell), ended.record, ended.seconds)
                summary.measured += 1
                summary.count(ended.record)
                progress(summary.measured, summary.cells - summary.reused, plan.subject.source.name)
    return summary


@dataclass(frozen=True)
class Plan:
    """An input as it was read.  work: heads rows n_k d_k.  bounds: of blocks of its rows."""

    subject: Subject
    blank: Record
    bounds: list[tuple[int, int]]
    work: int

    def key(self, cell: Cell) -> str:
        """Return the key of a cell."""
        return cell_key(cell, self.subject.source, self.subject.digest, self.subject.sample)


def plan_of(
    source: InputSource,
    sample: int | None,
    block_pairs: int,
    planned: Callable[[InputSource, Problem], None] = lambda source, problem: None,
    limits: Limits | None = None,
) -> Plan:
    """Load an input once to check it, and tell of it.

    Raises InvalidRequestError if it cannot be measured.
    """
    problem = source.load()
    require_attending(problem)
    rows = measured_rows(problem, sample)
    attending = int(problem.attended_rows[..., rows].sum())
    if not attending:
        raise InvalidRequestError(
            f"{problem.name}, of which no row in a sample of {sample} attends to any key",
            "a sample with some that do",
            "take more rows (--rows)",
        )
    planned(source, problem)
    return Plan(
        Subject(source, problem.digest, sample, block_pairs, Limits() if limits is None else limits),
        blank_record(source, problem, attending),
        block_bounds(problem, len(rows), block_pairs),
        problem.heads * len(rows) * problem.keys * problem.head_size,
    )


class _Ready:
    """Pieces that may be done now, of several inputs: those of the first input first, and in it by rank."""

    def __init__(self, works: list[InputWork]) -> None:
        self.works = works
        self._heap: list[tuple[int, int, int, Callable[[], Task | None]]] = []
        self._numbers = count()
        for place, work in enumerate(works):
            self._push(place, work.start())

    def _push(self, place: int, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            heappush(self._heap, (piece.rank, place, next(self._numbers), piece.make))

    def __bool__(self) -> bool:
        return bool(self._heap)

    def pop(self) -> tuple[int, Task] | None:
        """Return what to do next, and the number of its input; None if nobody wants that any more."""
        _, place, _, make = heappop(self._heap)
        task = make()
        return None if task is None else (place, task)

    def take(self, place: int, task: Task, result: Any) -> list[tuple[int, Ended]]:
        """Take in a result, and return the cells which that finishes."""
        pieces, ended = self.works[place].take(task, result)
        self._push(place, pieces)
        return [(place, each) for each in ended]


def _executed(works: list[InputWork], executor: Executors) -> Generator[tuple[int, Ended], None, None]:
    """Yield finished cells as they come, each with the number of its input.

    When a worker dies, the pieces that were under way are taken up alone, one after the other, and the rest goes on in
    a new pool.
    """
    ready = _Ready(works)
    while ready:
        suspects: list[tuple[int, Task]] = []
        yield from _shared(ready, executor, suspects)
        for place, task in suspects:
            yield from _alone(ready, place, task, executor)


def _shared(ready: _Ready, executor: Executors, suspects: list[tuple[int, Task]]) -> Iterator[tuple[int, Ended]]:
    """Do pieces until there are none or the pool breaks; those under way then become suspects."""
    with ended_pool(executor) as pool:
        pending: dict[Future[Any], tuple[int, Task]] = {}
        while pending or (ready and not suspects):
            while ready and not suspects and len(pending) < QUEUE:
                popped = ready.pop()
                if popped is None:
                    continue
                place, task = popped
                try:
                    future = submitted(pool, done, task)
                except BrokenExecutor:  # a worker died between two pieces
                    suspects.append((place, task))
                    break
                pending[future] = place, task
                if future.done():
                    break  # a pool that runs calls at once has its results committed one by one
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                place, task = pending.pop(future)
                if isinstance(future.exception(), BrokenExecutor):
                    suspects.append((place, task))
                else:
                    yield from ready.take(place, task, _result(future))


def _alone(ready: _Ready, place: int, task: Task, executor: Executors) -> Iterator[tuple[int, Ended]]:
    """Do one piece in a pool of its own; if that dies too, smaller ones, to find the one that kills it."""
    with ended_pool(executor) as pool:
        future = submitted(pool, done, task)
        parts = smaller(task) if isinstance(future.exception(), BrokenExecutor) else []
        if not parts:
            yield from ready.take(place, task, _result(future))
            return
    for part in parts:
        yield from _alone(ready, place, part, executor)


def _result(future: Future[Any]) -> Any:
    """Return what a piece gave, or why it gave nothing."""
    error = future.exception()
    if error is None:
        return future.result()
    return Failure(Status.CRASHED, DIED if isinstance(error, BrokenExecutor) else f"{type(error).__name__}: {error}")
