"""Our own rule among the public ones, and what they would say of a function that was checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verify.attention.contract import Member
from verify.check.checking import CaseResult, held
from verify.check.judgement import FACTOR, RESOLUTION, Standard, Verdict, judged, standard
from verify.check.run import Checked
from verify.check.suite import judged_part
from verify.gates.case import Case, in_format
from verify.gates.rules import Judge, Source
from verify.mechanisms.registry import baseline
from verify.numbers.arrays import Float64Array


@dataclass(frozen=True, eq=False)
class _Values:
    """Exact outputs in float64; how far off they are is far below what the formats that rules compare can tell."""

    value: Float64Array

    @property
    def residual(self) -> Float64Array:
        return np.zeros_like(self.value)

    @property
    def radius(self) -> Float64Array:
        return np.zeros_like(self.value)


class OwnRule:
    """The rule of `attnproof check` (`verify.check.judgement`): accepted is what it passes; undecidable is not."""

    def __init__(self) -> None:
        """Start without a problem."""
        self.name = "attnproof"
        self.words = (
            f"each row within {FACTOR:g} times the error of conventional runs and of rounding, where that is at most"
            f" {RESOLUTION:g} of what zeros lose"
        )
        self.source = Source("attnproof", "verify/check/judgement.py", "this version")
        self._last: Standard | None = None

    def accepts(self, case: Case) -> bool:
        """Return whether it passes the answer of a case."""
        return judged(self._standard(case), case.found).verdict == Verdict.PASSED

    def _standard(self, case: Case) -> Standard:
        """Return what answers to the problem are held against: worked out once, as many answers come one by one."""
        if self._last is None or self._last.problem is not case.problem or self._last.arithmetic != case.arithmetic:
            self._last = standard(case.problem, baseline().member, _Values(case.exact), case.arithmetic)
        return self._last


def said_by(rules: Sequence[Judge], checked: Checked) -> dict[str, dict[str, bool]]:
    """Return, by case and rule, whether public rules would accept what a function answered.

    Only of cases with an answer that rules compare: of the right shape, without a row that sees no key.
    """
    found = {}
    for result in checked.results:
        case = _case(result, checked.member, checked)
        if case is not None:
            found[result.name] = {rule.name: rule.accepts(case) for rule in rules}
    return found


def _case(result: CaseResult, member: Member, checked: Checked) -> Case | None:
    if result.output is None or result.problem is None or result.judgement is None:
        return None
    own = held(judged_part(result.problem, result.rows), member, checked.arithmetic)
    if own.usual is None or not own.rows.all():
        return None
    output = result.output[..., list(result.rows), :]
    return Case(own.problem, own.exact.value, output, in_format(own.usual, checked.arithmetic), checked.arithmetic)
