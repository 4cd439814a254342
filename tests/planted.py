"""Mechanisms that are right but for a planted fault, each with the check that has to notice it."""

from __future__ import annotations

from dataclasses import replace
from functools import partialmethod
from multiprocessing import parent_process
from typing import Any

import numpy as np

from tests.planted_arithmetics import ARITHMETICS
from tests.planted_costs import COSTS
from tests.planted_problems import PROBLEMS
from tests.planted_states import STATES
from tests.planting import (
    Bell,
    Cut,
    Planted,
    Rectified,
    altered,
    asked,
    bounded,
    multiplied,
    only,
    optional,
    overwriting,
    overwriting_weights,
    raising,
    remembering,
    reported,
    sharpened,
    shortened,
    signless,
    smaller_formula_bound,
    told,
    trembling,
    two_options,
    uncausal,
    unmasked,
    unrounded_factors,
    where,
)
from verify.arguments import Choice, Whole
from verify.attention.contract import Mechanism, Member
from verify.attention.hazards import NONE, Hazards
from verify.families import LogitKernel
from verify.mechanisms.registry import known
from verify.mechanisms.softmax.mechanism import SOFTMAX
from verify.mechanisms.taylor.mechanism import TAYLOR, Taylor

NOT_A_COUNT: Any = float("nan")
ENDLESS: Any = float("inf")

MEAN = known().mechanism("mean")

SOFT = SOFTMAX.member()


def planted(fault: str) -> Mechanism:
    """Return the mechanism with that fault, in a way that other processes can repeat."""
    plan = PLANTED[fault]
    *others, last = plan.base.forms
    forms = (*others, replace(last, **plan.form(last)))
    mechanism: Mechanism = type("Planted", (plan.base,), {"forms": forms, **plan.changed})()
    mechanism.origin = None if plan.local else (planted, (fault,))
    return mechanism


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
    "a formula that is wrong beyond the fourth order": Planted(
        Cut,
        "forms",
        "^cut:order=6/scores on 'plain': element .*; it is what cut:order=5 gives",
        form=asked(lambda p, m: (p, TAYLOR.member(order=m["order"] - (m["order"] > 4)))),
    ),
    "an answer of NaN beyond the fourth order": Planted(
        Cut,
        "forms",
        "^cut:order=6/scores on 'plain': element .* is nan",
        form=lambda form: {
            "compute": lambda problem, arithmetic, member: replace(
                output := form.compute(problem, arithmetic, member),
                value=output.value * (np.nan if member["order"] > 4 else 1),
            )
        },
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
    "rows that count where they stand": Planted(
        Bell,
        "forms",
        "bell/pairs on every other row of ",
        form=asked(lambda p, m: (p if p.positions is None else p.but(positions=None, alignment="top-left"), m)),
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
    "a form that writes into its problem": Planted(
        Bell, "forms", "bell/pairs on 'plain': ValueError: writes into its inputs: q", form=overwriting
    ),
    "weights in float64 that write into keys": Planted(
        Bell, "weights", "^writes into its inputs: k of 'plain'", {"float_weights": overwriting_weights}
    ),
    "sums of weights that are twice as large": Planted(
        Bell,
        "forms",
        r"bell/pairs on 'plain': the sum of weights of row \[0\] is .*; by the formula .* with the largest weight 1",
        form=reported(lambda output: {"normaliser": 2 * output.normaliser}),
    ),
    "sums of weights that are the mean": Planted(
        Bell,
        "forms",
        "the sum of weights of row",
        form=reported(lambda output: {"normaliser": output.normaliser * 0 + 1}),
    ),
    "sums of weights that are off by 1e-10": Planted(
        Bell,
        "forms",
        "the sum of weights of row",
        form=reported(lambda output: {"normaliser": output.normaliser * (1 + 1e-10)}),
    ),
    "sums of weights that are NaN": Planted(
        Bell,
        "forms",
        r"the sum of weights of row \[0\] is nan; by the formula",
        form=reported(lambda output: told(output, output.normaliser * np.nan)),
    ),
    "sums of weights without their sign": Planted(
        Cut,
        "forms",
        "the sum of weights of row .*, and by the formula -.*, of another sign",
        form=lambda form: {
            **reported(lambda output: told(output, np.abs(output.normaliser)))(form),
            "own_factor": True,
        },
    ),
    "hazards that are left out": Planted(
        Cut,
        "forms",
        "hazards with nonpositive_rows 0; the output has 1",
        form=reported(lambda output: {"hazards": NONE}),
    ),
    "hazards that are made up": Planted(
        Bell,
        "forms",
        "hazards with nonfinite_state 1; the output has 0",
        form=reported(lambda output: {"hazards": Hazards(nonfinite_state=1)}),
    ),
    "hazards that are NaN": Planted(
        Bell,
        "forms",
        "hazards with lost_additions nan; expected a number of times",
        form=reported(lambda output: {"hazards": replace(NONE, lost_additions=NOT_A_COUNT)}),
    ),
    "keys that are seen up to the eighth": Planted(
        Bell, "forms", "bell/pairs on '40 keys': element .* off", form=asked(lambda p, m: (shortened(p), m))
    ),
    "queries beyond 32 that are left out": Planted(
        Bell,
        "forms",
        r"on '40 tokens': element \[32, 0\] is 0, exactly",
        form=altered(lambda value: np.where(np.arange(value.shape[-2])[:, None] < 32, value, 0.0)),
    ),
    "an answer of NaN from 128 tokens on": Planted(
        Bell,
        "forms",
        "on '133 tokens, causal': element .* is nan",
        form=altered(lambda value: value * (np.nan if value.shape[-2] >= 128 else 1.0)),
    ),
    "an option that changes the formula": Planted(Bell, "options", "bell/pairs:sharp=yes on", form=optional),
    "sums of weights that are twice as large beyond 40 keys": Planted(
        Bell,
        "forms",
        r"on '530 keys': the sum of weights of row \[0\]",
        form=where(lambda p, a: p.keys > 40, reported(lambda output: {"normaliser": 2 * output.normaliser})),
    ),
    "a bound ten times too small": Planted(
        Bell, "rounding bounds", "bell/pairs in .* off, and its bound", form=bounded(multiplied(0.1))
    ),
    "a bound that forgets factors in 16 bits": Planted(
        Bell, "rounding bounds", r"bell/pairs in b?float(16|8_e4m3fn)\+float32 on", form=unrounded_factors
    ),
    "a bound that forgets factors in 16 bits beyond eight keys": Planted(
        Bell,
        "rounding bounds",
        "float32 on '(530 keys|40 tokens, causal)'",
        form=lambda form: unrounded_factors(form, beyond=8),
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
    "a bound of the formula too small for many keys": Planted(
        Bell,
        "formula bound",
        "bell on '530 keys': element .* away from softmax, and the bound on that",
        {"formula_bound": partialmethod(smaller_formula_bound, by=0.001, beyond=133)},
    ),
    "an explanation that is none": Planted(
        Cut, "names", r"hopeless\(\) of .* gives None; expected", {"hopeless": lambda self, problem, members: None}
    ),
    "a search that goes too far": Planted(
        Cut, "declaration", r"searched\(0\) gives \[0, 1, 2\]", {"searched": lambda self, largest: [0, 1, 2]}
    ),
    "more features than are said": Planted(
        Rectified, "forms", "as feature_count says", {"feature_count": lambda self, head_size, member: head_size}
    ),
    "a refusal that is not kept": Planted(Rectified, "refused problems", "itself is accepted", form=only),
    "a parameter that is overlooked": Planted(
        Bell, "refused requests", "is accepted", {"member": lambda self, **values: Member(self)}
    ),
    "a word that no name can hold": Planted(
        Bell, "names", "expected NAME=VALUE", {"parameters": {"kind": Choice("a,b", ("a,b",))}}
    ),
    "an answer to what was asked before": Planted(
        Bell, "repetition", "with another .*, which has just been asked for as it was: element", form=remembering
    ),
    "an answer remembered without its values": Planted(
        Bell,
        "repetition",
        "with another v, which has just been asked for as it was: element",
        form=lambda form: remembering(form, lambda p: (p.q.tobytes(), p.k.tobytes(), p.scale, p.causal, str(p.mask))),
    ),
    "an answer remembered without its scale": Planted(
        Bell,
        "repetition",
        "with another scale, which has just been asked for as it was: element",
        form=lambda form: remembering(form, lambda p: (p.q.tobytes(), p.k.tobytes(), p.v.tobytes(), str(p.mask))),
    ),
    "a scale below zero taken for one above": Planted(
        Cut,
        "forms",
        "on 'negative scale': element",
        form=lambda form: {**asked(lambda p, m: (signless(p), m))(form), "rounding": None},
    ),
    "values beyond the fifth left out": Planted(
        Bell,
        "forms",
        "on 'two leading dimensions': element .* is 0, exactly",
        form=altered(lambda value: np.where(np.arange(value.shape[-1]) < 5, value, 0.0)),
    ),
    "two options that are right alone": Planted(Bell, "options", "bell/pairs:one=yes,other=yes on", form=two_options),
    "a constant that is a float": Planted(
        Bell,
        "exact values",
        "0.1, a float, in a formula: write f.ratio",
        {"function": lambda self, f, s, member: f.exp(s) * 0.1},
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
    "a formula that raises": Planted(Bell, "exact values", "'plain': .*KeyError: ", {"function": raising}),
    "a formula that is nowhere defined": Planted(
        Bell, "exact values", "add up to no number", {"function": lambda self, f, s, member: f.sqrt(-1 - s * s)}
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
    **ARITHMETICS,
    **PROBLEMS,
    **COSTS,
    **STATES,
}
