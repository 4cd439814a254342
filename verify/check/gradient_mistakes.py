"""Mistakes that gradients are made with: what each would give, in float64, to compare with what was returned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from verify.attention.contract import Member
from verify.check.diagnosis import LEFT, Explanation
from verify.check.differentiated import PARTS, float_gradients
from verify.check.hypotheses import other_problems
from verify.check.judgement import row_sizes
from verify.measure.metrics import root_mean_square
from verify.numbers.arrays import Float64Array
from verify.problem import Problem

# Gradients by name.
Gradients = Mapping[str, Float64Array]

_WORDS = dict(
    zip(
        PARTS,
        (
            "dout times the output is not taken off",
            "the slope of the soft cap is missing",
            "heads of a group are not added up",
        ),
        strict=True,
    )
)


def gradient_explanations(
    problem: Problem, dout: Float64Array, member: Member, found: Gradients, exact: Gradients
) -> tuple[Explanation, ...]:
    """Return the mistakes that explain gradients, the nearest first.

    found: those that are wrong.
    """
    error = _distance(found, exact)
    if not np.isfinite(error):
        return ()
    near = []
    for words, answer in _answers(problem, dout, member):
        if any(answer[name].shape != array.shape for name, array in found.items()):
            continue
        left = _distance(found, answer)
        if left <= LEFT * error and _distance({name: answer[name] for name in found}, exact) > 0.0:
            near.append((left, words))
    return tuple(Explanation(words) for words in dict.fromkeys(words for _, words in sorted(near)))


def _answers(problem: Problem, dout: Float64Array, member: Member) -> Iterator[tuple[str, Gradients]]:
    right = float_gradients(problem, dout, member)
    for power, words in ((-1, "the gradient lacks the scale"), (1, "the gradient has the scale twice")):
        factor = problem.float_scale**power if problem.float_scale else 1.0
        yield words, {**right, "dq": factor * right["dq"], "dk": factor * right["dk"]}
    yield "dq and dk are exchanged", {**right, "dq": right["dk"], "dk": right["dq"]}
    yield "it returns zeros", {name: np.zeros(array.shape) for name, array in right.items()}
    yield "it has the opposite sign", {name: -array for name, array in right.items()}
    for part, words in _WORDS.items():
        yield words, float_gradients(problem, dout, member, part)
    for words, other in other_problems(problem):
        if other is not None and other.output_shape == dout.shape and member.mechanism.refusal(other) is None:
            yield f"in the output that it differentiates, {words}", float_gradients(other, dout, member)


def _distance(one: Gradients, other: Gradients) -> float:
    with np.errstate(invalid="ignore"):
        sizes = [row_sizes(one[name] - other[name]).ravel() for name in one]
    return root_mean_square(np.concatenate(sizes))
