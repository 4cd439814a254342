"""Mechanisms that are right but for a planted fault, each with the check that has to notice it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import numpy as np

from verify.arguments import Choice, Flag, Whole
from verify.attention.computed import AttentionOutput
from verify.attention.contract import Cost, Form, Mechanism, Member
from verify.bounds.pairs import Pairs, WeightBound
from verify.families import FeatureKernel, LogitKernel
from verify.families.feature.state import FeatureState
from verify.mechanisms.registry import known
from verify.mechanisms.softmax.mechanism import SOFTMAX
from verify.mechanisms.taylor.mechanism import TAYLOR, Taylor
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.fields import Field, Number
from verify.problem import Problem


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


class Cut(Taylor):
    """Taylor attention under another name, by scores alone."""

    name = "cut"
    forms = TAYLOR.forms[:1]


TWINS = (Bell, Rectified, Cut)

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


def planted(fault: str) -> Mechanism:
    """Return the mechanism with that fault, in a way that other processes can repeat."""
    plan = PLANTED[fault]
    *others, last = plan.base.forms
    forms = (*others, replace(last, **plan.form(last)))
    mechanism: Mechanism = type("Planted", (plan.base,), {"forms": forms, **plan.changed})()
    mechanism.origin = None if plan.local else (planted, (fault,))
    return mechanism


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


def bounded(change: Callable[[WeightBound], WeightBound]) -> Callable[[Form], Changes]:
    """Change the bound on the weights of a form."""

    def rounding(form: Form, pairs: Any, member: Member) -> WeightBound:
        assert form.rounding is not None
        return change(form.rounding(pairs, member))

    return lambda form: {"rounding": partial(rounding, form)}


def costing(name: str) -> Callable[[Form], Changes]:
    """Let the cost of a form say one more of something."""

    def cost(form: Form, problem: Problem, member: Member) -> Cost:
        found = form.cost(problem, member)
        return replace(found, **{name: getattr(found, name) + 1})

    return lambda form: {"cost": partial(cost, form)}


def unrounded_factors(form: Form) -> Changes:
    """Let a bound forget that weights are rounded to factors."""

    def rounding(pairs: Pairs, member: Member) -> WeightBound:
        assert form.rounding is not None
        pairs.f, pairs.narrowed = pairs.s, 0.0
        return form.rounding(pairs, member)

    return {"rounding": rounding}


def more_operations(form: Form) -> Changes:
    def operations(problem: Problem, member: Member) -> Any:
        assert form.operations is not None
        found = form.operations(problem, member)
        return replace(found, additions=found.additions + 1)

    return {"operations": operations}


def optional(form: Form) -> Changes:
    """Give a form an option that changes the formula."""

    def compute(problem: Problem, arithmetic: Arithmetic, member: Member, *, sharp: bool = False) -> AttentionOutput:
        return form.compute(sharpened(problem) if sharp else problem, arithmetic, member)

    return {"compute": compute, "options": {"sharp": Flag()}, "rounding": None}


def only(form: Form) -> Changes:
    """Let the stream compute what pairs do, whatever it serves."""
    return {"compute": Rectified.forms[0].compute, "options": {}, "limits": ()}


class Forgetful(FeatureState):
    """Forgets what is merged."""

    def merge(self, other: FeatureState) -> None:
        self.tokens += other.tokens


class Late(FeatureState):
    """Forgets the last token of an update."""

    def update(self, k: Any, v: Any) -> None:
        super().update(k[..., :-1, :], v[..., :-1, :])
        self.tokens += 1


class Unsigned(FeatureState):
    """Saves magnitudes."""

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        kept = self._sums.sums.values.copy()
        np.abs(kept, out=self._sums.sums.values)
        super().save(path, overwrite=overwrite)
        self._sums.sums.values[...] = kept


def sharpened(problem: Problem) -> Problem:
    return Problem(
        problem.q, problem.k, problem.v, 2 * problem.float_scale, problem.causal, problem.mask, problem.alignment
    )


def unmasked(problem: Problem) -> Problem:
    return Problem(problem.q, problem.k, problem.v, problem.scale, problem.causal, alignment=problem.alignment)


def uncausal(problem: Problem) -> Problem:
    return Problem(problem.q, problem.k, problem.v, problem.scale, mask=problem.mask)


def multiplied(by: float) -> Callable[[WeightBound], WeightBound]:
    return lambda found: replace(found, moved=found.moved * by, spread=found.spread * by)


def raising(*_: Any, **__: Any) -> Any:
    raise KeyError("a line\nand another")


def smaller_formula_bound(mechanism: LogitKernel, problem: Problem, member: Member) -> Any:
    bound = LogitKernel.formula_bound(mechanism, problem, member)
    assert bound is not None
    return 0.3 * bound


CALLS = [0]


def trembling(value: Any) -> Any:
    CALLS[0] += 1
    return value * (1 + 2.0**-52 * (CALLS[0] % 2))


MEAN = known().mechanism("mean")

SOFT = SOFTMAX.member()

PLANTED: dict[str, Planted] = {
    "a wrong weight in the form": Planted(
        Bell, "forms", "bell/pairs on 'plain': element .* off, and", form=asked(lambda p, m: (sharpened(p), m))
    ),
    "a form that calls another's formula": Planted(
        Cut,
        "forms",
        "it is what cut:order=[0-9] gives",
        form=asked(lambda p, m: (p, TAYLOR.member(order=max(0, m["order"] - 1)))),
    ),
    "a form that is softmax": Planted(
        Bell, "forms", "it is what softmax gives", form=lambda form: {"compute": SOFTMAX.forms[0].compute}
    ),
    "a form that is the mean": Planted(
        Bell, "forms", "it is what mean gives", form=asked(lambda p, m: (p, replace(MEAN.member(), mechanism=MEAN)))
    ),
    "a mask ignored": Planted(
        Bell, "forms", "it is what the same without its mask gives", form=asked(lambda p, m: (unmasked(p), m))
    ),
    "later tokens seen": Planted(
        Bell, "forms", "it is what the same with what comes later gives", form=asked(lambda p, m: (uncausal(p), m))
    ),
    "an answer of NaN": Planted(Bell, "forms", "all of it is NaN", form=altered(lambda value: value * np.nan)),
    "an answer of zero": Planted(Bell, "forms", "all of it is zero", form=altered(lambda value: value * 0)),
    "an output of another shape": Planted(Bell, "forms", "output of shape", form=altered(lambda value: value[..., :1])),
    "empty rows that are not zero": Planted(
        Bell, "forms", "sees no key and is not zero", form=altered(lambda value: np.where(value == 0, 1.0, value))
    ),
    "an error where nothing is promised": Planted(
        Bell,
        "forms",
        "off, and what float64 may lose on its formula",
        form=lambda form: {**altered(lambda value: value * (1 + 1e-9))(form), "rounding": None},
    ),
    "an option that changes the formula": Planted(Bell, "options", "bell/pairs:sharp=yes on", form=optional),
    "a bound ten times too small": Planted(
        Bell, "rounding bounds", "bell/pairs in .* off, and its bound", form=bounded(multiplied(0.1))
    ),
    "a bound that forgets factors in 16 bits": Planted(
        Bell, "rounding bounds", r"bell/pairs in b?float(16|8_e4m3fn)\+float32 on", form=unrounded_factors
    ),
    "a bound that says nothing": Planted(Bell, "rounding bounds", "it says nothing", form=bounded(multiplied(1e12))),
    "a bound that is always infinite": Planted(
        Bell,
        "rounding bounds",
        "infinite on every plain case",
        form=bounded(lambda found: replace(found, overflows=True)),
    ),
    "a bound of the formula too small": Planted(
        Bell,
        "formula bound",
        "away from softmax, and the bound on that",
        {"formula_bound": smaller_formula_bound},
    ),
    "a cost off by one": Planted(
        Rectified, "costs", "state elements, and the state holds", form=costing("state_elements")
    ),
    "features off by one": Planted(Rectified, "costs", "features, and the state has", form=costing("features")),
    "FLOPs off by one": Planted(Rectified, "costs", "FLOPs per token, and operations", form=costing("flops_per_token")),
    "operations off by one": Planted(Rectified, "costs", "says .*, and a run takes", form=more_operations),
    "more features than are said": Planted(
        Rectified, "forms", "as feature_count says", {"feature_count": lambda self, head_size, member: head_size}
    ),
    "a state that forgets on merge": Planted(
        Rectified, "states", "two parts merged: element", form=lambda form: {"state": Forgetful}
    ),
    "a state that forgets the last token": Planted(
        Rectified, "states", "all tokens at once: element", form=lambda form: {"state": Late}
    ),
    "a file that loses the sign": Planted(
        Rectified, "saved states", "and, saved and loaded,", form=lambda form: {"state": Unsigned}
    ),
    "a refusal that is not kept": Planted(Rectified, "refused problems", "itself is accepted", form=only),
    "a parameter that is overlooked": Planted(
        Bell, "refused requests", "is accepted", {"member": lambda self, **values: Member(self)}
    ),
    "a word that no name can hold": Planted(
        Bell, "names", "expected NAME=VALUE", {"parameters": {"kind": Choice("a,b", ("a,b",))}}
    ),
    "an answer that changes": Planted(Bell, "repetition", "other bytes", form=altered(trembling)),
    "weights in float64 that are softmax's": Planted(
        Bell,
        "weights",
        "they are softmax's",
        {"float_weights": lambda self, head, rows, seen, member: SOFTMAX.float_weights(head, rows, seen, SOFT)},
    ),
    "magnitudes that are too small": Planted(
        Bell,
        "weights",
        "added up from terms of the size",
        {"float_weights": lambda self, *given: [by * LogitKernel.float_weights(self, *given)[0] for by in (1, 0.5)]},
    ),
    "balls without magnitudes": Planted(
        Cut,
        "weights",
        r"by balls\(magnitudes=True\)",
        {"balls": lambda self, block, members, magnitudes: Taylor.balls(self, block, members, magnitudes=False)},
    ),
    "balls that are softmax's": Planted(
        Bell,
        "exact values",
        r"balls\(\) gives what softmax gives",
        {"balls": lambda self, block, members, magnitudes: SOFTMAX.balls(block, members, magnitudes=magnitudes)},
    ),
    "a formula that is softmax's, half entered": Planted(
        Bell,
        "exact values",
        r"weights\(\) gives what softmax gives",
        {"weights": lambda self, f, q, keys, scale, member: SOFTMAX.weights(f, q, keys, scale, SOFT)},
    ),
    "weights with a factor below zero": Planted(
        Bell,
        "exact values",
        "has to be positive",
        {"weights": lambda self, *given: [-w for w in LogitKernel.weights(self, *given)]},
    ),
    "a formula that raises": Planted(Bell, "exact values", "'plain': KeyError: ", {"function": raising}),
    "a formula that is nowhere defined": Planted(
        Bell, "exact values", "no exact value on", {"function": lambda self, f, s, member: f.sqrt(-1 - s * s)}
    ),
    "softmax under another name": Planted(
        Bell,
        "difference from softmax",
        "exact values of bell are softmax's",
        {"function": lambda self, f, s, member: f.exp(s)},
    ),
    "a function that passes for softmax": Planted(
        Bell, "difference from softmax", "away from softmax's; expected a name", {"formula_error": None}
    ),
    "a class that other processes cannot find": Planted(Bell, "pickling", "pickle", local=True),
    "a formula that is another one elsewhere": Planted(
        Bell,
        "processes",
        "in a spawned process",
        {"function": lambda self, f, s, member: 1 / (1 + s * s) if parent_process() is None else f.exp(s)},
    ),
    "a default out of bounds": Planted(
        Bell, "declaration", "parameter 'order': .* expected an integer", {"parameters": {"order": Whole(0, least=1)}}
    ),
}
