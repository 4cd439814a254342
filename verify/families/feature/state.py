"""Sums of fixed size over the features of keys, read with the features of queries."""

from __future__ import annotations

from math import prod
from typing import Any

from numpy.typing import NDArray

from verify.arguments import checked_integer
from verify.attention.contract import Member, require_member
from verify.attention.hazards import Hazards
from verify.attention.memory import MEMORY_LIMIT, check_memory
from verify.attention.state import AttentionState, checked_settings, storage_format
from verify.attention.sums import EVERYTHING, Sums, numbers_held
from verify.families.feature.features import computed_features, feature_count_of
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.formats import Format

# Tokens taken at once, unless fewer are given.
CHUNK = 128


class FeatureSums:
    """S = sum_t phi(k_t) v_t^T and z = sum_t phi(k_t) for several heads: sums [H, m, d_v + 1], z in the last column."""

    def __init__(
        self,
        arithmetic: Arithmetic,
        heads: int,
        head_size: int,
        value_size: int,
        member: Member,
        scale: float | None,
        *,
        storage: Format | None = None,
        compensated: bool = False,
        one_by_one: bool = False,
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        """Raise TooLargeError before allocating anything if more than memory_limit bytes would be held.

        MechanismError for a number of features that is none.
        """
        features = feature_count_of(member, head_size)
        # sums, and what compensates them; a chunk's tokens, as given and as taken, and features of queries and of keys,
        # one by one and together; what adding to some of the sums takes
        state = heads * features * (value_size + 1)
        numbers = numbers_held(state, compensated) + heads * CHUNK * (4 * features + 2 * (head_size + value_size + 1))
        check_memory(
            f"{features:,} features of {member.name}",
            8 * numbers,
            memory_limit,
            "take fewer features, or the form pairs",
        )
        self.arithmetic, self.member, self.scale = arithmetic, member, scale
        shape = (heads, features, value_size + 1)
        self.sums = Sums(arithmetic, shape, storage=storage, compensated=compensated, one_by_one=one_by_one)

    @property
    def hazards(self) -> Hazards:
        """What has gone wrong in the sums."""
        return self.sums.hazards

    def features(self, tokens: NDArray[Any]) -> NDArray[Any]:
        """Return phi of tokens [..., d_k]."""
        return computed_features(tokens, self.scale, self.member, self.arithmetic)

    def add(self, k: NDArray[Any], values: NDArray[Any]) -> None:
        """Add tokens: k [H, n, d_k] and values [H, n, d_v + 1], the last of which is 1."""
        self.add_features(self.features(k), values)

    def add_features(self, of_k: NDArray[Any], values: NDArray[Any]) -> None:
        """Add tokens by their features [H, n, m]."""
        self.sums.add_products(of_k.swapaxes(1, 2), values)

    def read(self, q: NDArray[Any], totals: NDArray[Any]) -> None:
        """Add numerators and, in the last column, sums of weights, [H, members, n, d_v + 1], for q [.., n, d_k]."""
        self.read_features(self.features(q), totals)

    def read_features(self, of_q: NDArray[Any], totals: NDArray[Any]) -> None:
        """Read with features [H, members, n, m]."""
        for member in range(of_q.shape[1]):
            self.sums.add_to(totals[:, member], of_q[:, member], EVERYTHING)

    def merge(self, other: FeatureSums) -> None:
        """Add the sums of other tokens."""
        self.sums.merge(other.sums)


class FeatureState(AttentionState):
    """The state of a mechanism with features: S = sum_t phi(k_t) v_t^T and z = sum_t phi(k_t).

    m (d_v + 1) numbers for each of the leading dimensions, whatever the context.  Settings and errors as in
    `verify.families.polynomial.state.PolynomialState`.
    """

    known_settings = (
        *("member", "head_size", "value_size", "lead", "scale", "arithmetic", "storage", "compensated", "one_by_one"),
    )

    def __init__(
        self,
        member: Member,
        head_size: int,
        value_size: int,
        *,
        lead: tuple[int, ...] = (),
        scale: float | None = None,
        arithmetic: str | Arithmetic = "float64",
        storage: str | Format | None = None,
        compensated: bool = False,
        one_by_one: bool = False,
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        require_member(member)
        self.mechanism = member.of
        given = {
            "head_size": head_size,
            "value_size": value_size,
            "lead": lead,
            "scale": scale,
            "arithmetic": arithmetic,
            "storage": storage,
            "compensated": compensated,
            "one_by_one": one_by_one,
        }
        settings = {"member": member.name} | checked_settings(**given)
        super().__init__(settings, CHUNK)
        self._sums: FeatureSums = FeatureSums(
            self._arithmetic,
            prod(settings["lead"]),
            settings["head_size"],
            settings["value_size"],
            member,
            settings["scale"],
            storage=storage_format(storage),
            compensated=settings["compensated"],
            one_by_one=settings["one_by_one"],
            memory_limit=checked_integer("memory limit", memory_limit, 0),
        )
