"""What an output that is wrong would be the right answer to: found by trying, never guessed from its size alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from verify.attention.contract import Member
from verify.attention.variant import Variant
from verify.check.hypotheses import answers, scaled_answer
from verify.check.judgement import row_sizes
from verify.measure.metrics import root_mean_square
from verify.numbers.arithmetic import ARITHMETICS, Arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem import Problem

# A mistake is taken for the cause where it leaves so little of the error.
LEFT = 0.05

# Pairs of a query and a key up to which mistakes are tried.
PAIRS = 1 << 20

# An error as large as that of a narrower arithmetic, within this factor, has its size.
_WITHIN = 2.5

# Factors of the scale among which one is looked for: powers of e.
_FACTORS = (-2.0, 2.0)


@dataclass(frozen=True)
class Explanation:
    """A mistake that would give an output, in words; alike: only the size of the error is known to be right."""

    words: str
    alike: bool = False


def explanations(
    problem: Problem, member: Member, arithmetic: Arithmetic, output: Float64Array, exact: Float64Array
) -> tuple[Explanation, ...]:
    """Return the mistakes that explain an output, the nearest first.

    output, exact: [..., H, n_q, d_v].
    """
    if problem.heads * problem.queries * problem.keys > PAIRS:
        return ()
    if member.mechanism.formula_error is None and _overflow(problem, arithmetic, output):
        return (Explanation("the maximum is not subtracted: exp overflows"),)
    error = _distance(output, exact)
    found = []
    for answer in answers(problem, member):
        left = _distance(output, answer.output)
        if left <= LEFT * error and _distance(answer.output, exact) > 0.0:
            found.append((left, answer.words))
    if found:
        return tuple(Explanation(words) for words in dict.fromkeys(words for _, words in sorted(found)))
    factor = _factor(problem, member, output, error)
    if factor is not None:
        return (Explanation(f"the scale is off by a factor of {factor:.3g}"),)
    return tuple(_narrow(problem, member, arithmetic, error, exact))


def _distance(output: Float64Array, answer: Float64Array) -> float:
    """Return the root mean square of the difference over rows in which there is an answer; infinite for too few."""
    with np.errstate(all="ignore"):
        sizes = row_sizes(output - answer)
    known = np.isfinite(answer).all(axis=-1)
    return root_mean_square(sizes[known]) if 2 * known.sum() > known.size else np.inf


def _overflow(problem: Problem, arithmetic: Arithmetic, output: Float64Array) -> bool:
    """Say whether the rows that are not finite are those whose weights exp(s) leave the format of sums."""
    lost = ~np.isfinite(output).all(axis=-1)
    if not lost.any():
        return False
    with np.errstate(all="ignore"):
        value = np.log(max(1.0, float(np.abs(problem.v).max(initial=0.0))))
    tops = [np.where(h.attended(), h.logits(), -np.inf).max(axis=1, initial=-np.inf) for h in problem.each_head()]
    top = np.array(tops).reshape(lost.shape)
    beyond = (top + value > np.log(arithmetic.sums.largest)) | (top < np.log(arithmetic.sums.smallest))
    return bool(beyond.any() and np.mean(lost != beyond) <= 0.1)


def _factor(problem: Problem, member: Member, output: Float64Array, error: float) -> float | None:
    """Return by what factor the scale is off, if that explains the output."""
    if not np.isfinite(error) or problem.heads * problem.queries * problem.keys > PAIRS >> 4:
        return None

    def left(power: float) -> float:
        answer = scaled_answer(problem, member, float(np.exp(power)))
        return np.inf if answer is None else _distance(output, answer)

    best = minimize_scalar(left, bounds=_FACTORS, method="bounded", options={"xatol": 1e-4})
    return float(np.exp(best.x)) if best.fun <= LEFT * error else None


def _narrow(
    problem: Problem, member: Member, arithmetic: Arithmetic, error: float, exact: Float64Array
) -> Iterator[Explanation]:
    """Yield the narrower arithmetics whose error has the size of this one."""
    form = next((f.name for f in member.mechanism.forms if Variant(member, f.name).refusal(problem) is None), None)
    if form is None or not np.isfinite(error):
        return
    for name, other in ARITHMETICS.items():
        if min(other.sums.precision, other.factors.precision) >= arithmetic.factors.precision:
            continue
        with np.errstate(all="ignore"):
            size = _distance(Variant(member, form).run(problem, name).value.astype(np.float64), exact)
        if size / _WITHIN <= error <= size * _WITHIN:
            yield Explanation(f"as far off as {name}: a sum, weights or inputs in a narrow format", alike=True)


def agreed(found: Sequence[Sequence[Explanation]]) -> tuple[str, int] | None:
    """Return the mistake that explains the most cases, and how many; None if there is none.

    found: by failed case, the mistakes that explain it, the nearest first: of two as frequent the nearer one is taken.
    What only has the right size is taken where nothing else explains a fifth of the cases.
    """
    first = Counter(case[0].words for case in found if case)
    for alike, least in ((False, len(found) / 5), (True, 0.0)):
        counts = Counter(one.words for case in found for one in case if one.alike == alike)
        if counts:
            words = max(counts, key=lambda one: (counts[one], first[one]))
            if counts[words] >= least:
                return words, counts[words]
    return None
