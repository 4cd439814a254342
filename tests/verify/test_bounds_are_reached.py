"""How near errors come to their bounds: inputs that a search has found, for every form.

The search drew keys, then queries and values by the hundred, and moved the best by a few steps of the format.  With few
tokens in formats of few bits, few roundings have to point the same way.  What it found is kept here, and what keeps
errors from coming nearer is told where they stay below a half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from verify.measure.metrics import computed_error
from verify.mechanisms import known, named_variant
from verify.mechanisms.registry import SHIPPED
from verify.numbers.arithmetic import ARITHMETICS
from verify.problem import Problem
from verify.truth import reference

Rows = list[list[float]]


@dataclass(frozen=True)
class Found:
    """A problem with one component of v, and the share of its bound that an error reaches at least."""

    variant: str
    share: float
    q: Rows
    k: Rows
    v: list[float]
    scale: float | None = 1.0
    arithmetic: str = "bfloat16"
    causal: bool = False
    why: str = ""

    @property
    def problem(self) -> Problem:
        return Problem(self.q, self.k, np.array(self.v)[:, None], self.scale, self.causal)

    def __str__(self) -> str:
        return f"{self.variant} {self.arithmetic}{' causal' * self.causal}"


STREAM = "exponents count as for weights twice the largest logit below 1, which matter least; exp(0) is not rounded"
LINEAR = "components far below the largest count as if they were read, and steps as if all logarithms were large"
FEATURES = "every feature counts as added to both sums m times, which only the first of m is"
OWN = "a chunk's own pairs count as read through the state, with a rounding for each feature"
POWER = "the one degree that is kept counts as added to two others, and twice it, which is exact, as rounded"
MEAN = "weights of 1 are exact, and so are their sum and products: of 2 n roundings n - 1 are left"

FOUND: tuple[Found, ...] = (
    Found("softmax/softmax", 0.81, [[3.984375]], [[4.03125], [-4.0625], [-16.125]], [0.0, 1.859375, -1.859375]),
    Found(
        "softmax/softmax",
        0.66,
        [[-2.19140625]],
        [[3.484375], [0.00446319580078125], [2.193359375]],
        [1.001953125, 1.0576171875, 1.35546875],
        scale=None,
        arithmetic="float16",
    ),
    Found(
        "softmax/softmax",
        0.67,
        [[-1.5, 1.0]],
        [[-1.0, 0.6875], [0.9375, 0.109375], [-2.5, 3.25]],
        [2.25, 1.75, 2.0],
        scale=None,
        arithmetic="float8_e4m3fn+float32",
    ),
    Found("softmax/online", 0.81, [[3.984375]], [[4.03125], [-4.0625], [-16.125]], [0.0, 1.859375, -1.859375]),
    Found("softmax/online:keys=1", 0.74, [[7.96875]], [[4.03125], [-4.0625], [-16.125]], [0.0, 1.640625, -1.640625]),
    Found(
        "logexp/quadratic",
        0.52,
        [[-0.2314453125, -0.169921875]],
        [[-0.107421875, -0.0341796875], [0.052490234375, -0.0223388671875]],
        [1.1015625, 1.09375],
        scale=None,
    ),
    Found(
        "logexp/stream",
        0.45,
        [[-0.024658203125, 0.287109375]],
        [[-1.265625, -1.0703125], [0.90234375, 0.75390625]],
        [1.9921875, 1.96875],
        scale=None,
        why=STREAM,
    ),
    Found(
        "logexp/stream",
        0.28,
        [[0.2451171875], [0.173828125]],
        [[0.12890625], [0.0279541015625]],
        [1.0234375, 1.1640625],
        scale=None,
        causal=True,
        why=STREAM,
    ),
    Found("logexp/linear", 0.24, [[-1.6484375, 1.4140625]], [[0.32421875, 0.625]], [1.71875], why=LINEAR),
    Found(
        "taylor:order=2/scores", 0.68, [[-4.78125]], [[0.0062255859375], [-0.0196533203125]], [-1.1015625, -1.1171875]
    ),
    Found(
        "taylor:order=2/scores",
        0.58,
        [[-13.0]],
        [[-0.625], [0.25], [-0.8125]],
        [1.125, 0.9375, 0.9375],
        arithmetic="float8_e4m3fn+float32",
    ),
    Found("taylor:order=1/packed", 0.55, [[-0.69140625]], [[-5.09375]], [-1.015625], scale=None),
    Found("taylor:order=2/packed", 0.46, [[0.55078125]], [[5.59375]], [1.828125], why=FEATURES),
    Found(
        "taylor:order=1/packed:chunk=1",
        0.35,
        [[-0.027587890625], [0.154296875]],
        [[11.875], [-1.28125]],
        [-1.1640625, -1.0703125],
        causal=True,
        why=OWN,
    ),
    Found("taylor:order=1/stream", 0.55, [[-0.69140625]], [[-5.09375]], [-1.015625], scale=None),
    Found("taylor:order=1/stream", 0.51, [[0.8125]], [[4.59375]], [-1.078125], causal=True),
    Found("taylor:order=2/dense", 0.62, [[0.4296875]], [[0.0272216796875], [0.0634765625]], [1.2578125, 1.1796875]),
    Found("power/scores", 0.6, [[2.359375]], [[1.6484375]], [1.0703125], scale=None),
    *(
        Found(form, 0.33, [[-1.453125]], [[-0.68359375], [0.2578125]], [-1.1171875, -1.265625], scale=None, why=POWER)
        for form in ("power/packed", "power/stream")
    ),
    Found(
        "power/dense", 0.6, [[-0.298828125]], [[-0.1298828125], [-0.08056640625]], [1.3046875, 1.2734375], scale=None
    ),
    Found("elu/pairs", 0.6, [[9.5]], [[4.75]], [1.0703125]),
    Found("elu/stream", 0.64, [[17.0]], [[0.81640625]], [1.203125], scale=None),
    Found(
        "elu/stream",
        0.33,
        [[-0.0230712890625], [0.042724609375]],
        [[0.035400390625], [-0.058349609375]],
        [-1.1484375, -1.1796875],
        scale=None,
        causal=True,
        why=OWN,
    ),
    Found(
        "favor:features=2/pairs",
        0.6,
        [[-0.0849609375, -0.00116729736328125]],
        [[-0.037353515625, -0.01025390625]],
        [1.0703125],
    ),
    Found(
        "favor:features=2/stream",
        0.51,
        [[-0.294921875, 0.92578125]],
        [[0.453125, 0.369140625]],
        [1.0234375],
        scale=None,
    ),
    Found(
        "favor:features=1/stream",
        0.61,
        [[-0.03369140625, 0.045654296875]],
        [[-0.59375, -0.00109100341796875]],
        [1.25],
        scale=None,
    ),
    Found("mean/pairs", 0.27, [[1.625]], [[-17.875], [-5.71875], [-13.125]], [1.0, 1.0390625, 1.0078125], why=MEAN),
)


@pytest.mark.parametrize("found", FOUND, ids=str)
def test_errors_reach_a_share_of_their_bounds(found: Found) -> None:
    problem, arithmetic, chosen = found.problem, ARITHMETICS[found.arithmetic], named_variant(found.variant)
    assert problem.rounded(arithmetic.inputs) is problem
    exact = reference(problem, 30, chosen.member)
    bound = chosen.rounding_bound(problem, exact.value, arithmetic)
    assert bound is not None
    share = (np.abs(computed_error(chosen.run(problem, arithmetic).value, exact)) / bound.sure).max()
    assert found.share <= share <= 1
    # a bound that nothing comes near says why
    assert found.share >= 0.5 or found.why


def test_every_form_has_been_searched() -> None:
    # the best of each form, and of those with a state in a causal problem as well
    searched = {(chosen.member.of, chosen.form) for chosen in (named_variant(found.variant) for found in FOUND)}
    forms = {(mechanism, form.name) for mechanism in SHIPPED for form in known().mechanism(mechanism).forms}
    assert searched == forms
