"""A whole check: the cases of a suite, the properties, and what the failures have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from verify.attention.contract import Member
from verify.check.backward import BACKWARD_SUITES, gradients_result, require_gradients
from verify.check.checking import CaseResult, Examine, Subject, examined, result_of
from verify.check.diagnosis import agreed, explanations
from verify.check.interface import Interface, interface
from verify.check.judgement import Verdict
from verify.check.properties import PROPERTIES, property_result
from verify.check.suite import SUITES, Case, cases_of, judged_part, require_some
from verify.errors import unknown
from verify.integers import how_many
from verify.isolated.isolation import Function, Loaded, Target
from verify.mechanisms.registry import CONVENTIONAL, named_member
from verify.numbers.arithmetic import Arithmetic, named_arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem import Problem

# Suites with which properties are looked at too.
_WITH_PROPERTIES = ("quick", "full")

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Asked:
    """What is to be checked, and how the function is called.

    target: the function.  mechanism: what it claims to compute.  layout: of its arrays.  causal, grouped, scale: what
    it always does.  takes: parameters by role (`verify.check.takes`).  left_out: names of cases.  backward: whether its
    gradients are looked at, not its output.
    """

    target: Target
    suite: str = "quick"
    mechanism: str = CONVENTIONAL
    arithmetic: str = "float32"
    layout: str = "bhsd"
    causal: bool = False
    grouped: bool = False
    scale: float | None = None
    takes: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    backward: bool = False


@dataclass(frozen=True, eq=False)
class Checked:
    """What became of a check.

    interface: how the function is called; None where each case says that.  cause: what explains the failures, in words,
    and of how many of them; None if nothing does.
    """

    asked: Asked
    interface: Interface | None
    member: Member
    arithmetic: Arithmetic
    results: tuple[CaseResult, ...]
    cause: tuple[str, int] | None

    def of(self, verdict: Verdict) -> list[CaseResult]:
        """Return the cases that came out so."""
        return [result for result in self.results if result.verdict == verdict]

    @property
    def passed(self) -> bool:
        """Whether no case failed, and at least one that passed tells right from wrong."""
        return not self.of(Verdict.FAILED) and any(result.tells for result in self.of(Verdict.PASSED))


# Calls that may take too long before the others are left out: a function that hangs would hang in every one.
MOST_LATE = 2


def check_function(asked: Asked, progress: Progress = lambda done, total, name: None) -> Checked:
    """Return what becomes of a function on a suite.

    Raises InvalidRequestError for a function that cannot be loaded or called, and for a suite, mechanism, arithmetic or
    layout that does not exist.  progress: told cases done, cases in all, and the name of the one that starts.

        check_function(Asked(Target("mine.py:attention"))).passed
    """
    suites = BACKWARD_SUITES if asked.backward and asked.suite in SUITES else tuple(SUITES)
    if asked.suite not in suites:
        given = f"suite {asked.suite!r}{' of gradients' if asked.backward else ''}"
        raise unknown(given, asked.suite, suites)
    member, arithmetic = named_member(asked.mechanism), named_arithmetic(asked.arithmetic)
    with Loaded(asked.target) as function:
        own = _interface(asked, function)
        subject = Subject(function, own, member, arithmetic)
        cases = cases_of(asked.suite, asked.left_out)
        require_some(cases, own)
        results = tuple(_results(subject, asked, cases, progress))
        return diagnosed(asked, member, arithmetic, results, own)


def _results(subject: Subject, asked: Asked, cases: Sequence[Case], progress: Progress) -> Iterator[CaseResult]:
    properties = PROPERTIES if asked.suite in _WITH_PROPERTIES and not asked.backward else ()
    examine: Examine = gradients_result if asked.backward else examined
    return in_turn(
        [(case.name, case.reason, partial(result_of, subject, case, examine)) for case in cases]
        + [(own.name, own.reason, partial(property_result, subject, own)) for own in properties],
        progress,
    )


def in_turn(runs: Sequence[tuple[str, str, Callable[[], CaseResult]]], progress: Progress) -> Iterator[CaseResult]:
    """Yield what becomes of cases, one after the other; the rest are left out where calls take too long.

    runs: the name of each, the reason why it is there, and what runs it.
    """
    late = 0
    for place, (name, reason, run) in enumerate(runs):
        progress(place, len(runs), name)
        if late >= MOST_LATE:
            text = f"{how_many(late, 'call')} before it took too long"
            yield CaseResult(name, reason, Verdict.LEFT_OUT, text)
            continue
        result = run()
        late += result.late
        yield result


def check_problem(asked: Asked, case: Case, problem: Problem, dout: Float64Array | None = None) -> Checked:
    """Return what becomes of a function on one problem; raises the same as `check_function`.

    dout: the derivative by the output that gradients are asked for with.
    """
    member, arithmetic = named_member(asked.mechanism), named_arithmetic(asked.arithmetic)
    with Loaded(asked.target) as function:
        subject = Subject(function, _interface(asked, function), member, arithmetic)
        results = [
            gradients_result(subject, case, problem, dout) if asked.backward else examined(subject, case, problem)
        ]
        return diagnosed(asked, member, arithmetic, results, subject.interface)


def _interface(asked: Asked, function: Function) -> Interface:
    own = interface(
        function.parameters,
        asked.layout,
        causal=asked.causal,
        grouped=asked.grouped,
        scale=asked.scale,
        takes=asked.takes,
        backward=asked.backward,
    )
    if asked.backward:
        require_gradients(named_member(asked.mechanism), own, asked.target.framework)
    return own


def diagnosed(
    asked: Asked,
    member: Member,
    arithmetic: Arithmetic,
    results: Sequence[CaseResult],
    own: Interface | None = None,
) -> Checked:
    """Return what became of a check, with what explains the cases that failed; own: how the function was called."""
    found = [explained(result, member, arithmetic) for result in results]
    failed = [result.explanations for result in found if result.verdict == Verdict.FAILED]
    return Checked(asked, own, member, arithmetic, tuple(found), agreed(failed))


def explained(result: CaseResult, member: Member, arithmetic: Arithmetic) -> CaseResult:
    """Return a case with the mistakes that explain it, if it failed with an output."""
    output, exact, problem, own = result.output, result.exact, result.problem, result.judgement
    numbers = own is not None and own.verdict == Verdict.FAILED  # or rows are wrong that see no key, and no others
    if result.verdict != Verdict.FAILED or not numbers or output is None or exact is None or problem is None:
        return result
    part = judged_part(problem, result.rows)
    return replace(
        result, explanations=explanations(part, member, arithmetic, output[..., list(result.rows), :], exact)
    )
