"""Operations one token takes, part by part: as published, as the published method runs, and as ours runs.

What runs is counted in `verify.mechanisms.taylor.counting`; the formulas here say where every operation comes from,
and must agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from verify.arguments import checked_order, checked_size
from verify.families.polynomial.basis import degree_feature_count, feature_count
from verify.families.polynomial.features import factored_slices
from verify.numbers.counted import Operations

T = TypeVar("T")


@dataclass(frozen=True)
class Parts(Generic[T]):
    """One token's work with a state, in three parts."""

    features: T
    update: T
    read: T

    def in_order(self) -> tuple[T, T, T]:
        """Return the parts in their order."""
        return self.features, self.update, self.read


# What the parts are called, and why what runs differs from SA (14) as we read it.
NAMES = Parts("features of q and k", "update of the state", "read-out")
REASONS = Parts(
    "ours multiplies each monomial once on either side, from a slice of the degree below (those of degree 1 by 1), and"
    " divides x by 2 .. order for the coefficients C_p / p! on the side of q; a product over its indices takes p - 1",
    "the method as written does not multiply by 1 to add to Z (SA (14): once per feature), ours does, v having a column"
    " of ones; ours has no alpha_p here",
    "the method as written has one coefficient per feature, degree 0 included, ours none; beyond SA (14), ours scales q"
    " (d_k), and both divide by Z (d_v)",
)


@dataclass(frozen=True)
class AccountRow:
    """One part of a token's work: what SA (14) charges as we read it, and what ran, counted; why they differ."""

    part: str
    charged: int
    published: Operations
    packed: Operations
    why: str


@dataclass(frozen=True)
class Account:
    """The operations of one token, part by part and, in the last row, together.

    own_pairs: what a token of a causal chunk of so many tokens takes besides, for the pairs inside the chunk.
    """

    head_size: int
    order: int
    value_size: int
    rows: tuple[AccountRow, ...]
    chunk: int
    own_pairs: Operations


def charged(head_size: int, order: int, value_size: int) -> Parts[int]:
    """Return SA (14), (4 d_v + 2 p + 4) m_p summed over p <= order, in the parts that we read it as.

    2 (p - 1) for the features of q and k, 1 for alpha_p and 1 for C_p where p >= 1, 2 (d_v + 1) to update, as many to
    read.  The paper gives the sum only.
    """
    head_size, order, value_size = _checked(head_size, order, value_size)
    features = feature_count(head_size, order)
    each = 2 * (value_size + 1) * features + features - 1  # coefficients from degree 1 on
    return Parts(2 * _index_products(head_size, order), each, each)


def as_published(head_size: int, order: int, value_size: int) -> Parts[Operations]:
    """Return what the method of SA (A1, A2) executes as it is written: products over indices, alpha_p for k, C_p for q.

    Z_p <- Z_p + alpha_p Phi_p(k), S_p <- S_p + alpha_p Phi_p(k) v^T, y = (C_p Phi_p(q))^T S_p / (C_p Phi_p(q))^T Z_p.
    """
    head_size, order, value_size = _checked(head_size, order, value_size)
    features = feature_count(head_size, order)
    state = features * (value_size + 1)
    return Parts(
        Operations(multiplications=2 * _index_products(head_size, order)),
        Operations(multiplications=state, additions=state),
        Operations(multiplications=features + state, additions=state, divisions=value_size),
    )


def as_packed(head_size: int, order: int, value_size: int) -> Parts[Operations]:
    """Return what our packed form executes: features by slices, Phi_p(scale q) / exponents' factorials against sums.

    Slices of the highest degree that are long enough are not multiplied out: their x_j goes to [v | 1], or to what was
    read.
    """
    head_size, order, value_size = _checked(head_size, order, value_size)
    features = feature_count(head_size, order)
    state = features * (value_size + 1)
    kept_k, kept_q = (factored_slices(head_size, order, by_exponent=coefficients) for coefficients in (False, True))
    return Parts(
        Operations(
            multiplications=2 * (features - 1) - sum(kept_k) - sum(kept_q), divisions=head_size * max(0, order - 1)
        ),
        Operations(multiplications=state + len(kept_k) * (value_size + 1), additions=state),
        Operations(
            multiplications=head_size + state + len(kept_q) * (value_size + 1), additions=state, divisions=value_size
        ),
    )


def as_own_pairs(head_size: int, order: int, value_size: int, chunk: int) -> Operations:
    """Return what a token of a causal chunk takes for the chunk's own pairs: logits, Horner's rule, the sums.

    Pairs under the mask are worked out too, and set to zero.
    """
    head_size, order, value_size = _checked(head_size, order, value_size)
    chunk = checked_size("chunk", chunk)
    return Operations(
        multiplications=chunk * (head_size + order + value_size + 1),
        additions=chunk * (head_size - 1 + order + value_size + 1),
        divisions=chunk * order,
    )


def _checked(head_size: int, order: int, value_size: int) -> tuple[int, int, int]:
    return checked_size("head size", head_size), checked_order(order), checked_size("value size", value_size)


def _index_products(head_size: int, order: int) -> int:
    """Return sum over 1 <= p <= order of (p - 1) m_p, multiplications of a product over the indices."""
    return sum((p - 1) * degree_feature_count(head_size, p) for p in range(1, order + 1))
