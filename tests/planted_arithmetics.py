"""Mechanisms that are right but in some arithmetic."""

from __future__ import annotations

import numpy as np

from tests.planting import (
    Bell,
    Planted,
    altered,
    asked,
    narrowly,
    reported,
    shortened,
    uncausal,
    unmasked,
    where,
    wider,
)
from verify.conformance.properties import CONSTANT
from verify.mechanisms.softmax.mechanism import SOFTMAX

SOFT = SOFTMAX.member()

ARITHMETICS: dict[str, Planted] = {
    "sums of weights that are twice as large in float32": Planted(
        Bell,
        "arithmetics",
        r"in float32 on '5 keys': the sum of weights of row \[0\]",
        form=where(lambda p, a: a.name == "float32", reported(lambda output: {"normaliser": 2 * output.normaliser})),
    ),
    "a scale overlooked for several heads in 16 bits": Planted(
        Bell,
        "arithmetics",
        "on 'two heads over one, causal, with a scale': element .*, and what .* may lose on its formula",
        form=where(
            lambda p, a: a.factors.precision < 24 and p.q.ndim > 2,
            asked(lambda p, m: (p.but(scale=None), m)),
            rounding=None,
        ),
    ),
    "a mask ignored in 16 bits": Planted(
        Bell,
        "arithmetics",
        r"^bell/pairs in float16\+float32 on '5 keys under a mask': the output at .* changes with keys \[1, 3\]",
        form=narrowly(asked(lambda p, m: (unmasked(p), m)), rounding=None),
    ),
    "later tokens seen in 16 bits": Planted(
        Bell,
        "arithmetics",
        "'5 tokens, causal': row 0 does not give the one key that it sees",
        form=narrowly(asked(lambda p, m: (uncausal(p), m)), rounding=None),
    ),
    "an answer of NaN in 16 bits": Planted(
        Bell,
        "arithmetics",
        "a constant does not stay so: number 0 is nan",
        form=narrowly(altered(lambda value: value * np.nan), rounding=None),
    ),
    "values that are squared in 16 bits": Planted(
        Bell,
        "arithmetics",
        "two outputs do not add up to that of the sum",
        form=narrowly(altered(lambda value: np.where(value == CONSTANT, value, value * value)), rounding=None),
    ),
    "a wrong weight in 16 bits": Planted(
        Bell,
        "arithmetics",
        r"in float16\+float32 on '5 keys.*off, and what float16\+float32 may lose on its formula",
        form=narrowly(asked(lambda p, m: (p, SOFT)), rounding=None),
    ),
    "sums of weights that are twice as large in 16 bits": Planted(
        Bell,
        "arithmetics",
        r"in float16\+float32 on '5 keys': the sum of weights of row \[0\]",
        form=narrowly(reported(lambda output: {"normaliser": 2 * output.normaliser})),
    ),
    "keys beyond the eighth left out in 16 bits": Planted(
        Bell,
        "arithmetics",
        "in .* on '(530 keys|40 tokens, causal)': element .*, and what .* may lose on its formula",
        form=narrowly(asked(lambda p, m: (shortened(p), m)), rounding=None),
    ),
    "a form in float64 whatever it is asked for": Planted(
        Bell,
        "arithmetics",
        "in float32: on '12 keys' all outputs are the exact values rounded; rounding weights would move",
        form=wider,
    ),
    "sums of weights in float64": Planted(
        Bell,
        "arithmetics",
        "in float32 on '5 keys': sums of weights that are no numbers of float32",
        form=reported(lambda output: {"normaliser": output.normaliser.astype(np.float64) * (1 + 2.0**-40)}),
    ),
}
