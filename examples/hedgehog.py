"""Features exp(x) and exp(-x): Hedgehog's map as it is before it is trained, its matrix the identity.

    attnproof sweep --mechanism examples/hedgehog.py:HEDGEHOG --mechanisms hedgehog --input normal

The weights are sum_i 2 cosh(q_i + k_i), never 0 and never negative.
"""

from __future__ import annotations

from collections.abc import Sequence

from verify.attention.contract import Member
from verify.families import FeatureKernel
from verify.numbers.fields import Field, Number


class Hedgehog(FeatureKernel):
    """w_t = phi(q).phi(k_t), phi(x) = (exp(x_1), ..., exp(x_d), exp(-x_1), ..., exp(-x_d)); no scale applies."""

    name = "hedgehog"
    description = "features exp(x) and exp(-x), component by component"
    source = "Zhang, Bhatia, Kumbong and Ré, ICLR 2024, arXiv 2402.04347, section 4"
    formula_error = "deviation"

    def feature_count(self, head_size: int, member: Member) -> int:
        """Return two for each component."""
        return 2 * head_size

    def features(self, f: Field, x: Sequence[Number], scale: Number, member: Member) -> list[Number]:
        """Return the exponentials of the components, and of their negatives."""
        return [f.exp(c) for c in x] + [f.exp(-c) for c in x]


HEDGEHOG = Hedgehog()
