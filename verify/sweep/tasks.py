"""The work of a sweep in pieces that run by themselves, in any process: what breaks one leaves the others alone.

Of an input: its cells are looked at, block by block it is surveyed and its members are studied, and cells are judged by
what came out.  A piece that fails says so in its result; one that is interrupted is done again.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from verify.attention.contract import Member
from verify.attention.hazards import Hazards
from verify.attention.strips import Computed
from verify.errors import AttnproofError, CertificationError, InvalidRequestError, MechanismError, ViolatedBoundError
from verify.families.costs import counts_of
from verify.files.packing import packed, unpacked
from verify.inputs import InputSource
from verify.isolated.worker import limit_memory
from verify.measure.background import Backdrop, Background, Ground, Values
from verify.measure.cell import Cell, Measurement, Outcome, computed, measurement, outcome
from verify.measure.decomposition import Truths
from verify.measure.logits import LogitTally
from verify.measure.portion import Portion, measured_rows, portions
from verify.mechanisms.loading import explained
from verify.mechanisms.registry import baseline
from verify.numbers.arithmetic import named_arithmetic
from verify.parallel.deadline import deadline
from verify.problem import Problem
from verify.sweep.record import Status
from verify.truth import Reference

Packed = bytes  # what `verify.files.packing` made of an object

Found = TypeVar("Found")


@dataclass(frozen=True)
class Failure:
    """Why there is no result."""

    status: Status
    reason: str


# What a process may have beside what a form may take: libraries, tiles of exact values, arrays over pairs.
ROOM = 1 << 30


@dataclass(frozen=True)
class Limits:
    """What a cell may take; None for no limit of time, and for what forms allow themselves.

    memory: bytes of a form's state and buffers.  A process that works on cells may have that and ROOM or, where there
    is no such limit, half of the machine's memory.  seconds: for each piece of its work.
    """

    memory: int | None = None
    seconds: float | None = None

    @property
    def of_process(self) -> int | None:
        """Bytes that a process may have more than when it starts; None where nobody knows what the machine has."""
        if self.memory is not None:
            return self.memory + ROOM
        if not hasattr(os, "sysconf"):
            return None
        pages, size = (os.sysconf(name) for name in ("SC_PHYS_PAGES", "SC_PAGE_SIZE"))
        return pages * size // 2


@dataclass(frozen=True)
class Subject:
    """An input as it was when the sweep was planned, and which rows of it are measured in blocks of what size.

    sample: how many rows; None for all.  block_pairs: see `verify.measure.portion.portions`.  limits: of each cell.
    """

    source: InputSource
    digest: str
    sample: int | None
    block_pairs: int
    limits: Limits = Limits()

    def problem(self) -> Problem:
        """Load the input; InvalidRequestError if it cannot be read any more, or has changed."""
        return _loaded(self.source, self.digest)

    def rows(self) -> NDArray[np.int64]:
        """Return the rows that are measured."""
        return measured_rows(self.problem(), self.sample)

    def portions(self) -> list[Portion]:
        """Return the blocks."""
        return list(portions(self.problem(), self.rows(), self.block_pairs))


@lru_cache(maxsize=1)
def _loaded(source: InputSource, digest: str) -> Problem:
    problem = source.load()
    if problem.digest != digest:
        raise InvalidRequestError(
            f"{problem.name} changed while the sweep ran", "the same contents throughout", "run the sweep again"
        )
    return problem


@dataclass(frozen=True)
class Look:
    """Find out what cells cost, and which are refused before anything is computed."""

    subject: Subject
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Looked:
    """What is known of a cell beforehand, by the names of a record, and why it will not be measured, if it will not."""

    known: Mapping[str, Any]
    failure: Failure | None


@dataclass(frozen=True)
class Survey:
    """Find out what all cells on a block are held against, in some arithmetics."""

    subject: Subject
    place: int
    arithmetics: tuple[str, ...]


@dataclass(frozen=True)
class Surveyed:
    """Statistics of a block's logits, its exact softmax, and by arithmetic the grounds of cells."""

    logits: Packed
    softmax: Packed | Failure
    grounds: Mapping[str, Packed | Failure]


MemberIn = tuple[Member, str]  # a member in an arithmetic


@dataclass(frozen=True)
class Study:
    """Find out what no form changes of members of one mechanism on a block, each in an arithmetic."""

    subject: Subject
    place: int
    asked: tuple[MemberIn, ...]


@dataclass(frozen=True)
class Studied:
    """The exact values of a member on a block, on inputs rounded to an arithmetic, and its background there."""

    own: Packed
    background: Packed


@dataclass(frozen=True)
class Run:
    """Compute all rows of a cell that are measured."""

    subject: Subject
    cell: Cell


@dataclass(frozen=True, eq=False)
class Judge:
    """Hold the rows of a cell on a block against exact values.  value: [..., H, r, d_v]."""

    subject: Subject
    place: int
    cell: Cell
    value: NDArray[Any]
    softmax: Packed
    own: Packed


@dataclass(frozen=True, eq=False)
class Finish:
    """Put together what was found out on all blocks."""

    subject: Subject
    cell: Cell
    logits: tuple[Packed, ...]
    grounds: tuple[Packed, ...]
    backgrounds: tuple[Packed, ...]
    outcomes: tuple[Outcome, ...]
    hazards: Hazards
    seconds: float | None


@dataclass(frozen=True, eq=False)
class Measure:
    """All of the last three at once, on an input of one block."""

    subject: Subject
    cell: Cell
    softmax: Packed
    own: Packed
    logits: Packed
    ground: Packed
    background: Packed


@dataclass(frozen=True, eq=False)
class Measured:
    """The numbers of a cell, and how long computing all its rows took, in seconds; None if some were not computed."""

    found: Measurement
    seconds: float | None


Task = Look | Survey | Study | Run | Judge | Finish | Measure


def done(task: Task) -> Any:
    """Do a piece of work, linear algebra on one thread, so that results do not depend on how many run.

    Raises InvalidRequestError if the input cannot be read any more or has changed since the sweep was planned.
    """
    _limit_process(task.subject.limits)
    with threadpool_limits(limits=1):
        task.subject.problem()
        work: Callable[[Any], Any] = _WORK[type(task)]
        return work(task)


@cache
def _limit_process(limits: Limits) -> None:
    """Limit the memory of a process that works for another one, once; where it is the only one, it has its own."""
    if multiprocessing.parent_process() is not None and limits.of_process is not None:
        limit_memory(limits.of_process)


def look(task: Look) -> list[Looked]:
    """Return what is known of each cell."""
    problem = task.subject.problem()
    return [_looked(cell, problem, task.subject.limits) for cell in task.cells]


def _looked(cell: Cell, problem: Problem, limits: Limits) -> Looked:
    known: dict[str, Any] = {}

    def find() -> None:
        with explained(cell.member.mechanism):
            known["counts"] = counts_of(cell.member, problem.head_size, problem.value_size)
            known.update(dataclasses.asdict(cell.variant.costs(problem)))
            refusal = cell.variant.refusal(problem)
        if refusal is not None:
            raise refusal

    failure = _tried(find, limits)
    return Looked(known, failure if isinstance(failure, Failure) else None)


def _backdrop(task: Survey | Study, members: Sequence[Member]) -> Backdrop:
    """Return a block with exact softmax, unless nothing is asked of it; whoever needs what cannot be found says so."""
    portion = task.subject.portions()[task.place]
    found = _tried(lambda: _softmax(task.subject, task.place), task.subject.limits) if members else None
    return Backdrop(portion, members, None if isinstance(found, Failure) else found)


@lru_cache(maxsize=1)
def _softmax(subject: Subject, place: int) -> Reference:
    """Return exact softmax on a block, once for all who ask for it here in turn."""
    return Truths(subject.portions()[place].part).of_softmax()


def survey(task: Survey) -> Surveyed:
    """Return what cells on a block are held against."""
    backdrop = _backdrop(task, [baseline().member] if task.arithmetics else [])

    def ground(name: str) -> Packed:
        return packed(backdrop.ground(named_arithmetic(name)))

    return Surveyed(
        packed(backdrop.logits()),
        _tried(lambda: packed(backdrop.softmax()), task.subject.limits) if task.arithmetics else b"",
        {name: _tried(partial(ground, name), task.subject.limits) for name in task.arithmetics},
    )


def study(task: Study) -> list[Studied | Failure]:
    """Return what is found out about each member in its arithmetic."""
    members = list(dict.fromkeys(member for member, _ in task.asked))
    backdrop = _backdrop(task, members)

    def find(member: Member, name: str) -> Studied:
        arithmetic = named_arithmetic(name)
        with explained(member.mechanism):
            background = backdrop.background(member, arithmetic)
        return Studied(packed(backdrop.own(member, arithmetic)), packed(background))

    return [_tried(partial(find, *one), task.subject.limits) for one in task.asked]


def run(task: Run) -> Computed | Failure:
    """Return what a cell computes."""
    problem, cell = task.subject.problem(), task.cell

    def find() -> Computed:
        with explained(cell.member.mechanism):
            rows, arithmetic = task.subject.rows(), named_arithmetic(cell.arithmetic)
            return computed(cell.variant, problem, rows, arithmetic, task.subject.limits.memory)

    return _tried(find, task.subject.limits)


def judge(task: Judge) -> Outcome | Failure:
    """Return what came out of a cell on a block."""
    portion, arithmetic = task.subject.portions()[task.place], named_arithmetic(task.cell.arithmetic)
    exact = unpacked(Values, task.softmax), unpacked(Values, task.own)

    def find() -> Outcome:
        with explained(task.cell.member.mechanism):
            return outcome(task.cell.variant, portion, arithmetic, task.value, *exact)

    return _tried(find, task.subject.limits)


def finish(task: Finish) -> Measured | Failure:
    """Return the numbers of a cell."""

    def find() -> Measured:
        found = measurement(
            task.subject.problem(),
            task.subject.rows(),
            Ground.joined([unpacked(Ground, content) for content in task.grounds]),
            Background.joined([unpacked(Background, content) for content in task.backgrounds]),
            Outcome.joined(task.outcomes),
            LogitTally.joined([unpacked(LogitTally, content) for content in task.logits]),
            task.hazards,
        )
        return Measured(found, task.seconds)

    return _tried(find, task.subject.limits)


def measure(task: Measure) -> Measured | Failure:
    """Return the numbers of a cell on an input of one block."""
    subject, cell = task.subject, task.cell
    ran = run(Run(subject, cell))
    if isinstance(ran, Failure):
        return ran
    judged = judge(Judge(subject, 0, cell, ran.value, task.softmax, task.own))
    if isinstance(judged, Failure):
        return judged
    known = (task.logits,), (task.ground,), (task.background,), (judged,)
    return finish(Finish(subject, cell, *known, ran.hazards, ran.seconds))


_WORK: Mapping[type, Callable[[Any], Any]] = {
    Look: look,
    Survey: survey,
    Study: study,
    Run: run,
    Judge: judge,
    Finish: finish,
    Measure: measure,
}


def _tried(find: Callable[[], Found], limits: Limits) -> Found | Failure:
    """Return what is found, or why nothing is: whatever breaks, breaks this and not its neighbours."""
    try:
        with deadline(limits.seconds):
            return find()
    except (CertificationError, MechanismError, ViolatedBoundError) as error:
        return Failure(Status.FAILED, str(error))
    except AttnproofError as error:
        return Failure(Status.REFUSED, str(error))
    except MemoryError:
        allowed = "there is" if limits.of_process is None else f"{limits.of_process / 2**30:.3g} GiB"
        return Failure(Status.REFUSED, f"work that takes more memory than {allowed}; allow it more (--memory)")
    except Exception as error:
        return Failure(Status.CRASHED, f"{type(error).__name__}: {error}")
