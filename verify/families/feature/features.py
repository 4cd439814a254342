"""What forms, states and bounds ask of a mechanism with features, and its features in an arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from verify.attention.contract import Member
from verify.errors import MechanismError
from verify.families.rounded import RoundedField
from verify.integers import how_many
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.fields import Field, Number


class HasFeatures(Protocol):
    """phi, for each member of a mechanism."""

    def features(self, f: Field, x: Sequence[Number], scale: Number, member: Member) -> list[Number]:
        """Return phi(x), in any field."""

    def feature_count(self, head_size: int, member: Member) -> int:
        """Return how many features there are."""


def feature_map(member: Member) -> HasFeatures:
    """Return the mechanism of a member that is known to have features."""
    return cast(HasFeatures, member.mechanism)


def feature_count_of(member: Member, head_size: int) -> int:
    """Return how many features there are; MechanismError for what is no number of them."""
    found: Any = feature_map(member).feature_count(head_size, member)
    if type(found) is not int or found < 1:
        raise MechanismError(
            f"feature_count {found!r} of {member.name} at head size {head_size}",
            "an integer of at least 1",
            "mend its feature_count",
        )
    return found


def features_of(f: Field, x: Sequence[Number], scale: Number, member: Member) -> list[Number]:
    """Return phi(x); MechanismError if there are not as many features as the mechanism says."""
    given: Any = feature_map(member).features(f, x, scale, member)
    if not isinstance(given, list | tuple):
        raise MechanismError(
            f"features of {member.name} of type {type(given).__name__}", "a list of numbers", "mend its features"
        )
    found: list[Number] = list(given)
    count = feature_count_of(member, len(x))
    if len(found) != count:
        raise MechanismError(
            f"{how_many(len(found), 'feature')} of {member.name} at head size {len(x)}",
            f"{count}, as feature_count says",
            "mend one of the two",
        )
    return found


def computed_features(
    tokens: NDArray[Any], scale: float | None, member: Member, arithmetic: Arithmetic
) -> NDArray[Any]:
    """Return phi of tokens [..., d_k] as [..., m], every step rounded to the arithmetic's factors.

    Raises MechanismError if there are not as many features as the mechanism says.
    """
    field = RoundedField(arithmetic, "factors")
    components = [field.number(tokens[..., i]) for i in range(tokens.shape[-1])]
    found = features_of(field, components, field.scale(scale, tokens.shape[-1]), member)
    return np.stack([field.array(x, tokens.shape[:-1]) for x in found], axis=-1)
