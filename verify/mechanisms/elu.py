"""Linear attention with features elu(x) + 1."""

from __future__ import annotations

from collections.abc import Sequence

from verify.attention.contract import Member
from verify.families.feature.kernel import FeatureKernel
from verify.numbers.fields import Field, Number


class Elu(FeatureKernel):
    """w_t = phi(q).phi(k_t), phi(x) = elu(x) + 1: x + 1 from 0 up, exp(x) below; the scale does not apply."""

    name = "elu"
    description = "linear attention with features elu(x) + 1"
    source = "Katharopoulos, Vyas, Pappas and Fleuret, ICML 2020, equations (4) to (7)"

    def features(self, f: Field, x: Sequence[Number], scale: Number, member: Member) -> list[Number]:
        """Return max(x, 0) + exp(min(x, 0)), component by component."""
        return [f.positive(c) + f.exp(-f.positive(-c)) for c in x]


ELU = Elu()
