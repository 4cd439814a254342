"""A function's gradients of q, k and v against exact ones, judged as outputs are: each row of each of the three."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np

from verify.attention.contract import Member
from verify.check.checking import DIGITS, CaseResult, Subject
from verify.check.differentiated import NAMES, float_gradients, gradient_noise, rounded_gradients
from verify.check.gradient_mistakes import gradient_explanations
from verify.check.interface import Interface
from verify.check.judgement import FACTOR, Judgement, Standard, Verdict, judged, row_sizes
from verify.check.suite import Case
from verify.errors import AttnproofError, InvalidRequestError
from verify.isolated.isolation import Returned
from verify.measure.metrics import computed_error, magnitudes, root_mean_square
from verify.mechanisms.registry import null_prediction
from verify.numbers.arithmetic import ARITHMETICS, Arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem import Problem
from verify.truth.gradients import Gradients, gradients

# Suites whose cases gradients are looked at in.
BACKWARD_SUITES = ("quick", "full", "sharp")

# Pairs of a query and a key up to which a case is looked at: exact gradients take some tens of microseconds for each.
PAIRS = 1 << 17


def output_gradient(problem: Problem, arithmetic: Arithmetic) -> Float64Array:
    """Return the dout of a problem: N(0, 1), the same every time, in the format of inputs, [..., H, n_q, d_v]."""
    drawn = np.random.default_rng(1504).standard_normal(problem.output_shape)
    return arithmetic.inputs.rounded(drawn).astype(np.float64)


def require_gradients(member: Member, interface: Interface, framework: str) -> None:
    """Raise InvalidRequestError for a mechanism whose gradients cannot be judged, or a function that has none."""
    if interface.dout is None and framework == "numpy":
        raise InvalidRequestError(
            "gradients of a function of numpy arrays, which nobody follows",
            "one that takes q, k, v and dout and returns dq, dk and dv",
            "name one, or choose another --framework",
        )
    one = np.zeros((1, 1))
    if member.mechanism.slopes(one, np.ones((1, 1), np.bool_), member, ARITHMETICS["float64"]) is None:
        raise InvalidRequestError(
            f"gradients of {member.name}, whose weights are no function of logits",
            "a mechanism whose weights are",
            "leave --backward out, or choose another --mechanism",
        )


def gradients_result(subject: Subject, case: Case, problem: Problem, dout: Float64Array | None = None) -> CaseResult:
    """Return what becomes of a function's gradients of a problem; InvalidRequestError for one it cannot be asked.

    dout: the derivative by its output, by default `output_gradient`.
    """
    subject.interface.require(problem, subject.arithmetic.inputs, dout)
    reason = _left_out(problem)
    if reason:
        return CaseResult(case.name, case.reason, Verdict.LEFT_OUT, reason)
    start = perf_counter()
    dout = output_gradient(problem, subject.arithmetic) if dout is None else dout
    call = subject.interface.call_for_gradients(problem, dout, subject.arithmetic.inputs, strided=case.strided)
    returned = subject.function.call(call)
    found, failure = _compared(subject, problem, returned)

    def result(verdict: Verdict, text: str, judgement: Judgement | None = None, **more: Any) -> CaseResult:
        seconds = perf_counter() - start
        return CaseResult(
            *(case.name, case.reason, verdict, text, judgement, seconds, problem),
            tells=case.trivial,
            dout=dout,
            **more,
        )

    if found is None:
        return result(Verdict.FAILED, failure, late=returned.late)
    try:
        exact = gradients(problem, dout, DIGITS, subject.member)
    except AttnproofError as error:
        return result(Verdict.LEFT_OUT, str(error))
    judgements = {
        name: judged(own, found[name])
        for name, own in _standards(exact, subject.arithmetic, weigh_trivial=case.trivial).items()
    }
    failed = [name for name, own in judgements.items() if own.verdict == Verdict.FAILED]
    passed = [name for name, own in judgements.items() if own.verdict == Verdict.PASSED]
    shown = failed or passed or list(judgements)
    told = failed or [name for name in judgements if name not in passed]
    text = "; ".join(f"{name}: {judgements[name].reason}" for name in told)
    worst = judgements[max(shown, key=lambda name: judgements[name].ratio)]
    if not failed:
        return result(Verdict.PASSED if passed else Verdict.UNDECIDABLE, text, worst)
    wrong, right = ({name: source(name) for name in failed} for source in (found.__getitem__, exact.value))
    explained = gradient_explanations(problem, dout, subject.member, wrong, right)
    return result(Verdict.FAILED, text, worst, explanations=explained)


def _left_out(problem: Problem) -> str:
    """Return why gradients of a problem are not looked at; empty if they are."""
    pairs = problem.heads * problem.queries * problem.keys
    if pairs > PAIRS:
        return f"exact gradients of {pairs:,} pairs take long: {PAIRS:,} at most are looked at"
    return "" if problem.attended_rows.all() else "libraries differ in gradients of rows that see no key"


def _compared(subject: Subject, problem: Problem, returned: Returned) -> tuple[dict[str, Float64Array] | None, str]:
    """Return gradients in float64, heads before tokens, or None and what is wrong with what came back."""
    if returned.values is None:
        return None, returned.failure
    found = {}
    for name, array in zip(NAMES, returned.parts, strict=True):
        own = getattr(problem, name[1:])
        shape, format_ = subject.interface.laid_out(own).shape, subject.arithmetic.inputs.name
        if array.shape != shape:
            return None, f"its {name} has the shape {list(array.shape)}; expected {list(shape)}"
        if array.dtype.name != format_:
            return None, f"its {name} is of type {array.dtype.name}; expected {format_}"
        with np.errstate(invalid="ignore"):  # a NaN that signals
            found[name] = subject.interface.heads_first(array).astype(np.float64)
    return found, ""


def _least(problem: Problem, dout: Float64Array, name: str, arithmetic: Arithmetic) -> float:
    """Return how far off sums are whose terms underflow: n of them, times what follows.

    Weights of keys that are hardly seen do, and nothing else adds to the gradients of such keys.  Subnormal numbers of
    32 bits and more may be taken for zero, as exponentials of many libraries do.
    """
    sums = arithmetic.sums
    lost = 2.0**sums.min_exponent if sums.width >= 32 else sums.smallest
    count = problem.keys if name == "dq" else problem.queries * problem.heads
    other = {"dq": problem.k, "dk": problem.q, "dv": dout}[name]
    scale = 1.0 if name == "dv" else abs(problem.float_scale)
    factor = max(1.0, scale * float(np.abs(other).max(initial=0.0)))
    return arithmetic.output.smallest + lost * factor * float(np.sqrt(count))


def _standards(exact: Gradients, arithmetic: Arithmetic, *, weigh_trivial: bool) -> dict[str, Standard]:
    """Return what gradients of q, k and v are held against: each row against FACTOR (c + f), as outputs are."""
    problem, dout, member = exact.problem, exact.dout, exact.member
    usual = rounded_gradients(problem, dout, member, arithmetic)
    noise = gradient_noise(problem, dout, member, arithmetic)
    found = {}
    for name in NAMES:
        balls, floor = exact.balls[name], row_sizes(noise.size[name])
        sizes = row_sizes(computed_error(usual[name], balls))
        rows = np.isfinite(sizes) & np.isfinite(floor)
        least = np.where((balls.value != 0.0).any(axis=-1), _least(problem, dout, name, arithmetic), 0.0)
        allowed = FACTOR * (np.where(rows, sizes, 0.0) + np.where(rows, floor, 0.0) + least)
        answers = {"zeros": np.zeros(balls.value.shape)} if weigh_trivial and rows.any() else {}
        if answers and name == "dv":
            answers["the gradient of a mean"] = float_gradients(problem, dout, null_prediction())["dv"]
        lost = [(words, root_mean_square(row_sizes(balls.value - other)[rows])) for words, other in answers.items()]
        before = FACTOR * (row_sizes(noise.before[name]) + least)
        first = root_mean_square(magnitudes(sizes[rows])) if rows.any() else 0.0
        found[name] = Standard(problem, balls, arithmetic, rows, allowed, before, None, first, tuple(lost))
    return found
