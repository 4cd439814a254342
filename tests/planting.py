"""How faults are planted: mechanisms that are right, and ways to change what they or their forms do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from verify.arguments import Flag
from verify.attention.computed import AttentionOutput
from verify.attention.contract import Form, Mechanism, Member
from verify.bounds.pairs import Pairs, WeightBound
from verify.families import FeatureKernel, LogitKernel
from verify.mechanisms.taylor.mechanism import TAYLOR, Taylor
from verify.numbers.arithmetic import ARITHMETICS, Arithmetic
from verify.numbers.fields import Field, Number
from verify.problem import Head, Problem


class Bell(LogitKernel):
    """w_t = 1 / (1 + s_t^2): positive, and not softmax."""

    name, description, source = "bell", "a bell of the logit", "tests"

    def function(self, f: Field, s: Number, member: Member) -> Number:
        return 1 / (1 + s * s)


class Rectified(FeatureKernel):
    """w_t = 1 + sum_i max(q_i, 0) max(k_ti, 0)."""

    name, description, source = "rectified", "1 and the positive parts", "tests"

    def features(self, f: Field, x: Sequence[Number], scale: Number, member: Member) -> list[Number]:
        return [f.ratio(1), *(f.positive(c) for c in x)]

    def feature_count(self, head_size: int, member: Member) -> int:
        return head_size + 1


class Scaled(Rectified):
    """w_t = 1 + scale^2 sum_i max(q_i, 0) max(k_ti, 0)."""

    name, description = "scaled", "1 and the positive parts times the scale"

    def features(self, f: Field, x: Sequence[Number], scale: Number, member: Member) -> list[Number]:
        return [f.ratio(1), *(scale * f.positive(c) for c in x)]


class Cut(Taylor):
    """Taylor attention under another name, by scores alone."""

    name = "cut"
    forms = TAYLOR.forms[:1]


TWINS = (Bell, Rectified, Scaled, Cut)

Changes = Mapping[str, Any]


@dataclass(frozen=True)
class Planted:
    """What is changed in a mechanism that is right, the check that has to notice it, and words of what it says.

    changed: attributes of the mechanism.  form: attributes of its last form.  local: whether its class has no place
    where other processes find it.
    """

    base: type[Mechanism]
    check: str
    says: str
    changed: Changes = field(default_factory=dict)
    form: Callable[[Form], Changes] = lambda form: {}
    local: bool = False


def altered(change: Callable[[Any], Any]) -> Callable[[Form], Changes]:
    """Change what a form has computed."""

    def compute(form: Form, problem: Problem, arithmetic: Arithmetic, member: Member) -> AttentionOutput:
        output = form.compute(problem, arithmetic, member)
        return replace(output, value=change(output.value.astype(np.float64)).astype(output.value.dtype))

    return lambda form: {"compute": partial(compute, form)}


def asked(change: Callable[[Problem, Member], tuple[Problem, Member]]) -> Callable[[Form], Changes]:
    """Let a form compute another problem, or another member."""

    def compute(form: Form, problem: Problem, arithmetic: Arithmetic, member: Member) -> AttentionOutput:
        other, instead = change(problem, member)
        return form.compute(other, arithmetic, instead)

    return lambda form: {"compute": partial(compute, form)}


def where(
    which: Callable[[Problem, Arithmetic], bool], planted: Callable[[Form], Changes], **also: Any
) -> Callable[[Form], Changes]:
    """Plant a fault in some cells alone."""

    def compute(form: Form, problem: Problem, arithmetic: Arithmetic, member: Member) -> AttentionOutput:
        faulty = which(problem, arithmetic)
        found: AttentionOutput = (planted(form)["compute"] if faulty else form.compute)(problem, arithmetic, member)
        return found

    return lambda form: {"compute": partial(compute, form), **also}


def narrowly(planted: Callable[[Form], Changes], **also: Any) -> Callable[[Form], Changes]:
    """Plant a fault in arithmetics alone whose factors have less than 24 bits."""
    return where(lambda problem, arithmetic: arithmetic.factors.precision < 24, planted, **also)


def remembering(form: Form, by: Callable[[Problem], Any] = lambda problem: None) -> Changes:
    """Let a form give the answer to what it was first asked of a shape, and of what else is given."""
    found: dict[Any, AttentionOutput] = {}

    def compute(problem: Problem, arithmetic: Arithmetic, member: Member) -> AttentionOutput:
        key = problem.q.shape, problem.k.shape, problem.v.shape, arithmetic.name, by(problem)
        if key not in found:
            found[key] = form.compute(problem, arithmetic, member)
        return found[key]

    return {"compute": compute}


def reported(change: Callable[[AttentionOutput], Changes]) -> Callable[[Form], Changes]:
    """Change what a form says beside its value."""

    def compute(form: Form, problem: Problem, arithmetic: Arithmetic, member: Member) -> AttentionOutput:
        output = form.compute(problem, arithmetic, member)
        return replace(output, **change(output))

    return lambda form: {"compute": partial(compute, form)}


def told(output: AttentionOutput, normaliser: Any) -> Changes:
    """Return other sums of weights, and hazards that fit them."""
    found = replace(output.hazards, nonpositive_rows=int(np.count_nonzero(~(normaliser >= 0))))
    return {"normaliser": normaliser, "hazards": found}


def bounded(change: Callable[[WeightBound], WeightBound]) -> Callable[[Form], Changes]:
    """Change the bound on the weights of a form."""

    def rounding(form: Form, pairs: Any, member: Member) -> WeightBound:
        assert form.rounding is not None
        return change(form.rounding(pairs, member))

    return lambda form: {"rounding": partial(rounding, form)}


def unrounded_factors(form: Form, beyond: int = 0) -> Changes:
    """Let a bound forget that weights are rounded to factors, of more than so many keys."""

    def rounding(pairs: Pairs, member: Member) -> WeightBound:
        assert form.rounding is not None
        if pairs.n > beyond:
            pairs.f, pairs.narrowed = pairs.s, 0.0
        return form.rounding(pairs, member)

    return {"rounding": rounding}


def optional(form: Form) -> Changes:
    """Give a form an option that changes the formula."""

    def compute(problem: Problem, arithmetic: Arithmetic, member: Member, *, sharp: bool = False) -> AttentionOutput:
        return form.compute(sharpened(problem) if sharp else problem, arithmetic, member)

    return {"compute": compute, "options": {"sharp": Flag()}, "rounding": None}


def two_options(form: Form) -> Changes:
    """Give a form two options that do nothing alone, and another formula together."""

    def compute(
        problem: Problem, arithmetic: Arithmetic, member: Member, *, one: bool = False, other: bool = False
    ) -> AttentionOutput:
        return form.compute(sharpened(problem) if one and other else problem, arithmetic, member)

    return {"compute": compute, "options": {"one": Flag(), "other": Flag()}, "rounding": None}


def wider(form: Form) -> Changes:
    """Let a form compute in float64, and round what comes out."""

    def compute(problem: Problem, arithmetic: Arithmetic, member: Member) -> AttentionOutput:
        output = form.compute(problem, ARITHMETICS["float64"], member)
        z = arithmetic.as_sum(output.normaliser.astype(arithmetic.dtype))
        return replace(output, value=arithmetic.output.rounded(output.value), normaliser=z)

    return {"compute": compute}


def only(form: Form) -> Changes:
    """Let the stream compute what pairs do, whatever it serves."""
    return {"compute": Rectified.forms[0].compute, "options": {}, "limits": ()}


def sharpened(problem: Problem) -> Problem:
    return problem.but(scale=2 * problem.float_scale)


def overwriting(form: Form) -> Changes:
    """Let a form scale the queries where they stand, once it has computed its answer."""

    def compute(problem: Problem, arithmetic: Arithmetic, member: Member) -> AttentionOutput:
        output = form.compute(problem, arithmetic, member)
        scale(problem.q)
        return output

    return {"compute": compute}


def scale(array: Any) -> None:
    """Double an array that is not to be written into."""
    array.flags.writeable = True
    array *= 2.0


def overwriting_weights(mechanism: LogitKernel, head: Head, rows: slice, attended: Any, member: Member) -> Any:
    found = LogitKernel.float_weights(mechanism, head, rows, attended, member)
    scale(head.k if head.k.base is None else head.k.base)
    return found


def signless(problem: Problem) -> Problem:
    scale = None if problem.scale is None else abs(problem.scale)
    return problem.but(scale=scale)


def unmasked(problem: Problem) -> Problem:
    return problem.but(mask=None)


def shortened(problem: Problem) -> Problem:
    """Mask all keys but the first eight."""
    first = np.arange(problem.keys) < 8
    mask = first[None] if problem.mask is None else problem.mask & first
    return problem.but(mask=mask)


def uncausal(problem: Problem) -> Problem:
    return problem.but(causal=False)


def multiplied(by: float) -> Callable[[WeightBound], WeightBound]:
    return lambda found: replace(found, moved=found.moved * by, spread=found.spread * by)


def raising(*_: Any, **__: Any) -> Any:
    raise KeyError("a line\nand another")


def smaller_formula_bound(
    mechanism: LogitKernel, problem: Problem, member: Member, *, by: float = 0.3, beyond: int = 0
) -> Any:
    bound = LogitKernel.formula_bound(mechanism, problem, member)
    assert bound is not None
    return bound * (by if problem.keys > beyond else 1.0)


CALLS = [0]


def trembling(value: Any) -> Any:
    CALLS[0] += 1
    return value * (1 + 2.0**-52 * (CALLS[0] % 2))
