"""The work on one input: which pieces may be done now, what follows from their results, and which cells that ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from typing import Any, Protocol

from verify.attention.contract import Mechanism, Member
from verify.attention.strips import Computed
from verify.files.packing import unpacked
from verify.measure.cell import Cell, Outcome
from verify.measure.logits import LogitTally
from verify.sweep.record import Record, Status
from verify.sweep.recording import ended
from verify.sweep.tasks import (
    Failure,
    Finish,
    Judge,
    Look,
    Looked,
    Measure,
    Measured,
    MemberIn,
    Packed,
    Run,
    Studied,
    Study,
    Subject,
    Survey,
    Surveyed,
    Task,
)


class Interim(Protocol):
    """Where what was found out on blocks of an input is kept, so that an interruption does not lose it.

    what: one of several things.  place: the block's number.  member, arithmetic: of which it is.
    """

    def fetch(self, what: str, place: int, member: Member | None, arithmetic: str | None) -> Packed | None:
        """Return what was kept, or None."""

    def keep(self, what: str, place: int, member: Member | None, arithmetic: str | None, content: Packed) -> None:
        """Keep something."""

    def discard(self) -> None:
        """Forget all of it."""


@dataclass(frozen=True)
class Ended:
    """A cell that is finished, its record, and the seconds that computing all its rows took, if they were."""

    cell: Cell
    record: Record
    seconds: float | None


@dataclass(frozen=True)
class Piece:
    """A piece of work that may be done now.

    rank: the lowest first.  make: returns what there is to do, when it comes to it; None if nobody wants it any more.
    """

    rank: int
    make: Callable[[], Task | None]


# What ends a cell comes first: what is committed is not lost.
_FINISHING, _JUDGING, _RUNNING, _SURVEYING, _STUDYING, _LOOKING = range(6)


def smaller(task: Task) -> list[Task]:
    """Return the same work in pieces of which one may break without the others; empty if there are none."""
    if isinstance(task, Look) and len(task.cells) > 1:
        return [replace(task, cells=(cell,)) for cell in task.cells]
    if isinstance(task, Study) and len(task.asked) > 1:
        return [replace(task, asked=(one,)) for one in task.asked]
    return []


class InputWork:
    """What is left to do on one input.

    blank: a record that says what is known of the input.  bounds: where blocks of its rows begin and end.
    """

    def __init__(
        self,
        subject: Subject,
        blank: Record,
        cells: Iterable[Cell],
        bounds: Sequence[tuple[int, int]],
        interim: Interim,
    ) -> None:
        self.subject, self.blank, self.bounds, self.interim = subject, blank, bounds, interim
        self.left: dict[Cell, None] = dict.fromkeys(cells)
        self._of: dict[MemberIn, list[Cell]] = {}
        for cell in self.left:
            self._of.setdefault((cell.member, cell.arithmetic), []).append(cell)
        self._known: dict[Cell, Mapping[str, Any]] = {}
        self._failed: dict[Cell, Failure] = {}  # that are not written yet
        self._surveys: set[int] = set()  # blocks that wait for one
        self._is_surveyed = False
        self._studies: dict[MemberIn, set[int]] = {}
        self._runs: dict[Cell, Computed] = {}
        self._outcomes: dict[Cell, dict[int, Outcome]] = {}

    def start(self) -> list[Piece]:
        """Return the first pieces."""
        return [Piece(_LOOKING, lambda: Look(self.subject, tuple(self.left)))]

    def take(self, task: Task, result: Any) -> tuple[list[Piece], list[Ended]]:
        """Take in the result of a piece, or a Failure of all of it; return pieces that may follow, and finished cells.

        Of a cell that is finished, nothing is kept any more, and what others have still found out of it is no matter.
        """
        pieces: list[Piece] = []
        if not self.left or (isinstance(task, Run | Judge | Finish | Measure) and task.cell not in self.left):
            return [], []
        match task:
            case Look():
                pieces = self._looked(task, result)
            case Survey():
                pieces = self._surveyed(task, result)
            case Study():
                pieces = self._studied(task, result)
            case Run() if isinstance(result, Computed):
                self._runs[task.cell], self._outcomes[task.cell] = result, {}
                pieces = [Piece(_JUDGING, partial(self._judge, task.cell, place)) for place in self._blocks]
            case Judge() if isinstance(result, Outcome):
                self._outcomes[task.cell][task.place] = result
                if len(self._outcomes[task.cell]) == len(self.bounds):
                    pieces = [Piece(_FINISHING, partial(self._finish, task.cell))]
            case Finish() | Measure() if isinstance(result, Measured):
                return [], [self._end(task.cell, result)]
            case Run() | Judge() | Finish() | Measure():
                self._failed.setdefault(task.cell, result)
        if not self._is_surveyed:  # what a record says of the input is known only then
            return pieces, []
        failed, self._failed = self._failed, {}
        return pieces, [self._end(cell, failure) for cell, failure in failed.items()]

    @property
    def _blocks(self) -> range:
        return range(len(self.bounds))

    def _end(self, cell: Cell, result: Measured | Failure) -> Ended:
        del self.left[cell]
        self._runs.pop(cell, None)
        self._outcomes.pop(cell, None)
        if not self.left:
            self.interim.discard()
        known = self._known.get(cell, {})
        if isinstance(result, Measured):
            numbers = {field.name: getattr(result.found, field.name) for field in fields(result.found)}
            return Ended(cell, ended(self.blank, cell, Status.OK, **numbers, **known), result.seconds)
        own = known if result.status == Status.REFUSED else {}  # what a cell costs is known of what is refused, too
        return Ended(cell, ended(self.blank, cell, result.status, reason=result.reason, **own), None)

    # What is known before anything is computed

    def _looked(self, task: Look, result: list[Looked] | Failure) -> list[Piece]:
        found = [Looked({}, result)] * len(task.cells) if isinstance(result, Failure) else result
        for cell, looked in zip(task.cells, found, strict=True):
            self._known[cell] = looked.known
            if looked.failure is not None:
                self._failed[cell] = looked.failure
        if len(self._known) < len(self.left):
            return []
        if not self._wanted and all(failure.status == Status.CRASHED for failure in self._failed.values()):
            self._is_surveyed = True  # what cannot even be looked at is left alone
            return []
        self._surveys = {place for place in self._blocks if not self._kept_survey(place)}
        survey = [Piece(_SURVEYING, partial(Survey, self.subject, place, self._arithmetics)) for place in self._surveys]
        return survey or self._after_survey()

    @property
    def _wanted(self) -> list[Cell]:
        """The cells that are still to be measured."""
        return self._still(self.left)

    def _still(self, cells: Iterable[Cell]) -> list[Cell]:
        """Return those of some cells that are still to be measured."""
        return [cell for cell in cells if cell in self.left and cell not in self._failed]

    @cached_property
    def _arithmetics(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(cell.arithmetic for cell in self._wanted))

    # What cells are held against

    def _kept_survey(self, place: int) -> bool:
        wanted = [(_LOGITS, None), *(((_SOFTMAX, None),) if self._arithmetics else ())]
        wanted += [(_GROUND, name) for name in self._arithmetics]
        return all(self.interim.fetch(what, place, None, name) is not None for what, name in wanted)

    def _surveyed(self, task: Survey, result: Surveyed | Failure) -> list[Piece]:
        self._surveys.discard(task.place)
        if isinstance(result, Failure):
            self._fail(self._wanted, result)
        else:
            self.interim.keep(_LOGITS, task.place, None, None, result.logits)
            if isinstance(result.softmax, Failure):
                self._fail(self._wanted, result.softmax)
            elif task.arithmetics:
                self.interim.keep(_SOFTMAX, task.place, None, None, result.softmax)
            for name, ground in result.grounds.items():
                if isinstance(ground, Failure):
                    self._fail((cell for cell in self._wanted if cell.arithmetic == name), ground)
                else:
                    self.interim.keep(_GROUND, task.place, None, name, ground)
        return [] if self._surveys else self._after_survey()

    def _after_survey(self) -> list[Piece]:
        """Take what a record says of the logits, and go on to what no form changes."""
        logits = [self.interim.fetch(_LOGITS, place, None, None) for place in self._blocks]
        tallies = [unpacked(LogitTally, content) for content in logits if content is not None]
        if len(tallies) == len(self.bounds):
            whole = LogitTally.joined(tallies)
            largest, spread = whole.statistics
            self.blank = replace(
                self.blank, largest_logit=largest, measured_logit_std=spread, logit_powers=whole.mean_powers
            )
        self._is_surveyed = True
        asked: dict[Mechanism, list[MemberIn]] = {}
        for cell in self._wanted:
            one = cell.member, cell.arithmetic
            if one not in self._studies:
                self._studies[one] = {place for place in self._blocks if not self._kept_study(*one, place)}
                asked.setdefault(cell.member.mechanism, []).append(one)
        pieces = []
        for own in asked.values():
            for place in self._blocks:
                missing = [one for one in own if place in self._studies[one]]
                if missing:
                    pieces.append(Piece(_STUDYING, partial(self._study, place, missing)))
        return pieces + self._ready(self._wanted)

    # What no form changes

    def _study(self, place: int, asked: Iterable[MemberIn]) -> Task | None:
        wanted = tuple(one for one in asked if self._still(self._of[one]))
        return Study(self.subject, place, wanted) if wanted else None

    def _kept_study(self, member: Member, arithmetic: str, place: int) -> bool:
        return all(self.interim.fetch(what, place, member, arithmetic) is not None for what in (_OWN, _BACKGROUND))

    def _studied(self, task: Study, result: Sequence[Studied | Failure] | Failure) -> list[Piece]:
        pieces = []
        results = [result] * len(task.asked) if isinstance(result, Failure) else result
        for (member, name), found in zip(task.asked, results, strict=True):
            own = self._still(self._of[member, name])
            if isinstance(found, Failure):
                self._fail(own, found)
                continue
            self.interim.keep(_OWN, task.place, member, name, found.own)
            self.interim.keep(_BACKGROUND, task.place, member, name, found.background)
            self._studies[member, name].discard(task.place)
            pieces += self._ready(own)
        return pieces

    def _ready(self, cells: Iterable[Cell]) -> list[Piece]:
        """Return what is to be done for those of some cells of which everything is known that no form changes."""
        there = [cell for cell in cells if not self._studies[cell.member, cell.arithmetic]]
        if len(self.bounds) == 1:
            return [Piece(_FINISHING, partial(self._measure, cell)) for cell in there]
        return [Piece(_RUNNING, partial(self._run, cell)) for cell in there]

    # What came out

    def _run(self, cell: Cell) -> Task | None:
        return Run(self.subject, cell) if self._still([cell]) else None

    def _measure(self, cell: Cell) -> Task:
        return Measure(
            self.subject,
            cell,
            softmax=self._content(_SOFTMAX, 0),
            own=self._content(_OWN, 0, cell),
            logits=self._content(_LOGITS, 0),
            ground=self._content(_GROUND, 0, cell),
            background=self._content(_BACKGROUND, 0, cell),
        )

    def _judge(self, cell: Cell, place: int) -> Task | None:
        if not self._still([cell]):
            return None
        first, last = self.bounds[place]
        value = self._runs[cell].value[..., first:last, :]
        exact = self._content(_SOFTMAX, place), self._content(_OWN, place, cell)
        return Judge(self.subject, place, cell, value, *exact)

    def _finish(self, cell: Cell) -> Task:
        ran, outcomes = self._runs[cell], self._outcomes[cell]
        return Finish(
            self.subject,
            cell,
            logits=tuple(self._content(_LOGITS, place) for place in self._blocks),
            grounds=tuple(self._content(_GROUND, place, cell) for place in self._blocks),
            backgrounds=tuple(self._content(_BACKGROUND, place, cell) for place in self._blocks),
            outcomes=tuple(outcomes[place] for place in self._blocks),
            hazards=ran.hazards,
            seconds=ran.seconds,
        )

    def _fail(self, cells: Iterable[Cell], failure: Failure) -> None:
        for cell in list(cells):
            self._failed.setdefault(cell, failure)

    def _content(self, what: str, place: int, cell: Cell | None = None) -> Packed:
        member = cell.member if cell is not None and what in (_OWN, _BACKGROUND) else None
        found = self.interim.fetch(what, place, member, None if cell is None else cell.arithmetic)
        assert found is not None, "it was kept when it was found"
        return found


_LOGITS, _SOFTMAX, _GROUND, _OWN, _BACKGROUND = "logits", "exact", "ground", "own exact", "background"
