"""What each rule lets through: impostors on seeded inputs, with how far off they really are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from verify.arguments import checked_integer
from verify.attention.variant import Variant
from verify.errors import InvalidRequestError
from verify.gates.case import Case
from verify.gates.gold import float64_attention
from verify.gates.impostors import Impostor
from verify.gates.rules import Judge
from verify.inputs import SyntheticInput
from verify.measure.metrics import magnitudes, ratio, root_mean_square
from verify.mechanisms.registry import baseline
from verify.numbers.arithmetic import named_arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem import Problem
from verify.problem.selection import of_rows

# A function counts as wrong whose relative error is so many times the unit roundoff of the output's format: ten times
# what rounding its output may do to it.
WRONG = 10.0

# Rules compare outputs in these formats.
OUTPUTS = ("bfloat16", "float16", "float32")

# Tokens times head size: three arrays of so many float64 numbers are drawn, and as many again are held.
LARGEST = 1 << 25

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Trial:
    """The first queries of a seeded input, which see all of its keys, in an arithmetic: q, k and v are rounded to it.

    Raises InvalidRequestError for a causal input, one that is too large, or an arithmetic whose outputs no rule
    compares.
    """

    source: SyntheticInput
    arithmetic: str = "bfloat16+float32"
    queries: int = 64

    def __post_init__(self) -> None:
        """Check what the input does not know."""
        source, output = self.source, named_arithmetic(self.arithmetic).output.name
        if output not in OUTPUTS:
            raise InvalidRequestError(
                f"arithmetic {self.arithmetic} with outputs in {output}",
                "outputs in " + " or ".join(OUTPUTS),
                "choose one such as bfloat16+float32",
            )
        if source.causal:
            raise InvalidRequestError(
                f"{source.name}, in which the first queries see few keys",
                "an input that is not causal",
                "end it with ,full",
            )
        checked_integer("queries", self.queries, 1)
        if source.tokens * source.head_size > LARGEST:
            raise InvalidRequestError(
                f"{source.tokens:,} tokens of head size {source.head_size:,}",
                f"at most {LARGEST:,} numbers in q",
                "take fewer tokens, or a smaller head size",
            )

    @property
    def rows(self) -> int:
        """How many queries there are."""
        return min(self.queries, self.source.tokens)

    @property
    def limit(self) -> float:
        """The relative error beyond which a function counts as wrong."""
        return WRONG * 2.0 ** -named_arithmetic(self.arithmetic).output.precision

    def load(self) -> Problem:
        """Draw the problem; InvalidRequestError if the arithmetic does not hold its numbers."""
        return of_rows(self.source.load(), range(self.rows)).rounded(named_arithmetic(self.arithmetic).inputs)


@dataclass(frozen=True)
class Answer:
    """What became of one impostor: its true relative error, and the rules that accept it, in their order."""

    impostor: str
    error: float
    accepted_by: tuple[str, ...]


@dataclass(frozen=True)
class Judged:
    """One trial under all rules.

    plain_error: relative error of conventional attention in the arithmetic.  doubt: how far off the exact output may
    be, relative to it.  correct: by rule, whether it accepts the forms of conventional attention in the same arithmetic
    that are not wrong themselves; None if all of them are.
    """

    trial: Trial
    plain_error: float
    doubt: float
    correct: Mapping[str, bool | None]
    answers: Sequence[Answer]

    def accepted(self, rule: str) -> list[Answer]:
        """Return the wrong functions that a rule accepts, the wrongest first."""
        wrong = [a for a in self.answers if rule in a.accepted_by and not a.error <= self.trial.limit]
        return sorted(wrong, key=lambda answer: -answer.error)


def steps(impostors: Sequence[Impostor]) -> int:
    """Return how often `judged` tells its progress."""
    return 3 + len(impostors)


def judged(
    trial: Trial,
    rules: Sequence[Judge],
    impostors: Sequence[Impostor],
    *,
    progress: Progress = lambda step: None,
) -> Judged:
    """Return which impostors each rule accepts in a trial.

    progress: told what has been done, `steps` times.

        trial = Trial(SyntheticInput("normal", 64, 65536, causal=False))
        judged(trial, [*RULES.values()], [*impostors().values()]).accepted("kernelbench")
    """
    with threadpool_limits(limits=1):  # threads of linear algebra cost more than they save on blocks of rows
        return _judged(trial, rules, impostors, progress)


def _judged(trial: Trial, rules: Sequence[Judge], impostors: Sequence[Impostor], progress: Progress) -> Judged:
    problem = trial.load()
    progress("inputs")
    exact, doubt = float64_attention(problem)
    progress("exact values")
    runs = _conventional_runs(problem, trial)
    arithmetic = named_arithmetic(trial.arithmetic)
    case = Case(problem, exact, runs[0], runs[0], arithmetic)
    right = [run for run in map(case.answered, runs) if run.error <= trial.limit]
    correct = {rule.name: all(map(rule.accepts, right)) if right else None for rule in rules}
    progress("conventional runs")
    answers = []
    for impostor in impostors:
        answered = case.answered(impostor.compute(problem))
        accepting = tuple(rule.name for rule in rules if rule.accepts(answered))
        answers.append(Answer(impostor.name, answered.error, accepting))
        progress(impostor.name)
    off = ratio(root_mean_square(magnitudes(doubt)), root_mean_square(np.abs(exact)))
    return Judged(trial, case.error, np.inf if off is None else off, correct, tuple(answers))


def _conventional_runs(problem: Problem, trial: Trial) -> list[Float64Array]:
    """Return the outputs of all forms of conventional attention in the arithmetic, the plain one first."""
    usual = baseline()
    forms = sorted((form.name for form in usual.member.mechanism.forms), key=lambda name: name != usual.form)
    runs = [Variant(usual.member, form).run(problem, trial.arithmetic).value for form in forms]
    return [run.astype(np.float64) for run in runs]
