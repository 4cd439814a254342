from __future__ import annotations

from collections.abc import Sequence

import pytest

from verify.attention.contract import Member
from verify.families.feature.forms import token_operations
from verify.families.feature.kernel import FeatureKernel
from verify.inputs import SyntheticInput
from verify.mechanisms.registry import known
from verify.numbers.counted import Operations
from verify.numbers.fields import Field, Number

D = D_V = 4
PROBLEM = SyntheticInput("normal", D, 3).load()


class Everything(FeatureKernel):
    """Does all that a field offers."""

    name = "everything"
    description = "all operations"
    source = "ours"

    def features(self, f: Field, x: Sequence[Number], scale: Number, member: Member) -> list[Number]:
        root = f.sqrt(f.dot(x, x))
        top = f.largest(x)
        return [f.exp(-f.positive(c - top)) / root * f.ratio(3) + f.exact(0.5) * c**2 for c in x]


OF_STATE = Operations(multiplications=2 * D * (D_V + 1), additions=2 * D * (D_V + 1), divisions=D_V)

# of phi, for one token
OF_PHI = {
    "elu": Operations(additions=D, exponentials=D, comparisons=2 * D),
    "everything": Operations(
        multiplications=D + 3 * D, additions=D - 1 + 2 * D, divisions=D + 1, exponentials=D, comparisons=2 * D - 1
    ),
}


@pytest.mark.parametrize("name", OF_PHI)
def test_what_features_take_is_counted(name: str) -> None:
    mechanism = Everything() if name == "everything" else known().mechanism(name)
    assert token_operations(PROBLEM, mechanism.member()) == OF_PHI[name] * 2 + OF_STATE
