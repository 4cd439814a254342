"""Positive random features: an unbiased estimate of softmax's weights, with a state of fixed size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from verify.arguments import Whole
from verify.attention.contract import Member
from verify.errors import InvalidRequestError
from verify.families.feature.kernel import FeatureKernel
from verify.numbers.arrays import Float64Array
from verify.numbers.fields import Field, Number
from verify.problem import Problem

MOST_FEATURES = 1 << 16


@lru_cache(maxsize=16)
def directions(features: int, head_size: int, seed: int) -> Float64Array:
    """Return independent N(0, 1) directions [m, d_k], drawn with PCG64: float64 numbers, part of the formula."""
    drawn = np.random.Generator(np.random.PCG64(seed)).standard_normal((features, head_size))
    drawn.flags.writeable = False
    return drawn


class Favor(FeatureKernel):
    """w_t = phi(q).phi(k_t), phi_i(x) = exp(w_i.x' - |x'|^2 / 2), x' = sqrt(scale) x, w_i ~ N(0, 1).

    Over draws of w, the mean of w_t / m is exp(scale q.k_t).  The directions are independent; the paper's orthogonal
    ones are another draw."""

    name = "favor"
    description = "positive random features of softmax"
    source = "Choromanski et al., ICLR 2021, lemma 1 and equation (7)"
    parameters = {
        "features": Whole(64, least=1, most=MOST_FEATURES),
        "seed": Whole(0, least=0, most=2**31 - 1),
    }
    axis = "features"
    formula_error = "deviation"

    def unservable(self, problem: Problem) -> InvalidRequestError | None:
        """Refuse a negative scale, which has no root."""
        if problem.scale is None or problem.scale >= 0:
            return None
        return InvalidRequestError(
            f"{problem.name} with scale {problem.scale:g} for {self.name}", "a scale of at least 0", "negate q instead"
        )

    def searched(self, largest: int | None) -> Sequence[int]:
        """Return powers of two, up to 256 unless told otherwise."""
        last = 256 if largest is None else self.parameters["features"].checked("features", largest)
        return [1 << i for i in range(int(last).bit_length())]

    def feature_count(self, head_size: int, member: Member) -> int:
        """Return the number of directions."""
        return int(member["features"])

    def features(self, f: Field, x: Sequence[Number], scale: Number, member: Member) -> list[Number]:
        """Return exp(w_i.x' - |x'|^2 / 2) for every direction."""
        root = f.sqrt(scale)
        scaled = [c * root for c in x]
        half = f.dot(scaled, scaled) / 2
        rows = directions(member["features"], len(x), member["seed"])
        return [f.exp(f.dot([f.exact(w) for w in row], scaled) - half) for row in rows.tolist()]


FAVOR = Favor()
