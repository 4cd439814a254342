"""What a formulation costs: the published formulas as functions, exact integers, one per equation.

Sizes count numbers, not bytes; FLOPs are per token.  `order` is the highest power kept; the papers' P is order + 1.
Every function raises InvalidRequestError for a size below 1 or an order below 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

from verify.basis import alpha
from verify.errors import InvalidRequestError


def _check(order: int = 0, **sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise InvalidRequestError(
                f"{name.replace('_', ' ')} {size}", "an integer of at least 1", "give the size of one head"
            )
    if order < 0:
        raise InvalidRequestError(
            f"order {order}", "an integer of at least 0", "give the highest power kept (terms - 1)"
        )


def degree_feature_count(head_size: int, degree: int) -> int:
    """Return m_p = C(d_k + p - 1, p), the monomials of degree p. SA (7)."""
    _check(degree, head_size=head_size)
    return comb(head_size + degree - 1, degree)


def feature_count(head_size: int, order: int) -> int:
    """Return sum over p <= order of m_p = C(d_k + order, order), all monomials. SA (7), summed as in SA (13)."""
    _check(order, head_size=head_size)
    return comb(head_size + order, order)


def dense_feature_count(head_size: int, order: int) -> int:
    """Return sum over p <= order of d_k^p, the features without symmetry. SA (4)-(6)."""
    _check(order, head_size=head_size)
    return sum(head_size**p for p in range(order + 1))


def state_size(head_size: int, order: int, value_size: int | None = None) -> int:
    """Return (d_v + 1) C(d_k + order, order), the numbers in the state of Taylor attention. SA (1), (13)."""
    value_size = head_size if value_size is None else value_size
    _check(order, head_size=head_size, value_size=value_size)
    return (value_size + 1) * feature_count(head_size, order)


def flops_per_token(head_size: int, order: int, value_size: int | None = None) -> int:
    """Return sum over p <= order of (4 d_v + 2 p + 4) m_p, Taylor attention's FLOPs per token. SA (14), (15)."""
    value_size = head_size if value_size is None else value_size
    _check(order, head_size=head_size, value_size=value_size)
    # sum of p m_p = d_k C(d_k + order, order - 1), which closes the sum as SA (15) does, without its fraction
    power_sum = head_size * comb(head_size + order, order - 1) if order else 0
    return (4 * value_size + 4) * feature_count(head_size, order) + 2 * power_sum


def logexp_state_size(head_size: int, value_size: int | None = None) -> int:
    """Return d_k (d_v + 1), the numbers in the state of log-exp attention. LE, from (6)."""
    value_size = head_size if value_size is None else value_size
    _check(head_size=head_size, value_size=value_size)
    return head_size * (value_size + 1)


def kv_cache_size(tokens: int, head_size: int, value_size: int | None = None) -> int:
    """Return n (d_k + d_v), the numbers in the cache of conventional attention. SA, section 2.6."""
    value_size = head_size if value_size is None else value_size
    _check(head_size=head_size, value_size=value_size)
    return tokens * (head_size + value_size)


def conventional_flops_per_token(tokens: int, head_size: int, value_size: int | None = None) -> int:
    """Return n (2 d_k + 2 d_v + 3), the FLOPs of conventional attention for one token. SA, section 2.7."""
    value_size = head_size if value_size is None else value_size
    _check(head_size=head_size, value_size=value_size)
    return tokens * (2 * head_size + 2 * value_size + 3)


def script_flops_per_token(tokens: int, head_size: int) -> int:
    """Return 6 n d, the FLOPs that the script of SA's authors charges conventional attention with d_k = d_v = d."""
    _check(head_size=head_size)
    return tokens * 6 * head_size


@dataclass(frozen=True)
class TaylorCost:
    """The costs of Taylor attention for one head size and order, with the contexts at which they break even.

    A break-even is the context at which the two costs meet, to the nearest token.  kv_break_even: state and cache.
    flop_break_even: FLOPs per token against the paper's count n (2 d_k + 2 d_v + 3); flop_break_even_script: against
    the 6 n d of the authors' script, None unless d_k = d_v.  alpha: alpha_p of the highest degree, exactly, as text.
    """

    head_size: int
    value_size: int
    order: int
    terms: int
    degree_features: int
    features: int
    state_elements: int
    flops_per_token: int
    kv_break_even: int
    flop_break_even: int
    flop_break_even_script: int | None
    dense_features: int
    alpha: str


def taylor_cost(head_size: int, order: int, value_size: int | None = None) -> TaylorCost:
    """Return every cost of Taylor attention at one head size and order."""
    value_size = head_size if value_size is None else value_size
    state = state_size(head_size, order, value_size)
    flops = flops_per_token(head_size, order, value_size)
    return TaylorCost(
        head_size=head_size,
        value_size=value_size,
        order=order,
        terms=order + 1,
        degree_features=degree_feature_count(head_size, order),
        features=feature_count(head_size, order),
        state_elements=state,
        flops_per_token=flops,
        kv_break_even=_meeting_point(state, kv_cache_size(1, head_size, value_size)),
        flop_break_even=_meeting_point(flops, conventional_flops_per_token(1, head_size, value_size)),
        flop_break_even_script=_meeting_point(flops, script_flops_per_token(1, head_size))
        if value_size == head_size
        else None,
        dense_features=dense_feature_count(head_size, order),
        alpha=str(alpha(order, head_size)),
    )


@dataclass(frozen=True)
class MultiheadCost:
    """The costs of Taylor attention with W/d_k heads: a layer of fixed width W.

    kv_cache_per_token: numbers that conventional attention stores for every token, 2 W where d_v = d_k.  Break-even
    contexts are those of one head.
    """

    width: int
    heads: int
    head: TaylorCost
    total_state_elements: int
    total_flops_per_token: int
    kv_cache_per_token: int


def multihead_cost(width: int, head_size: int, order: int, value_size: int | None = None) -> MultiheadCost:
    """Return the costs of W/d_k heads; InvalidRequestError if d_k does not divide W."""
    _check(order, width=width, head_size=head_size)
    heads, rest = divmod(width, head_size)
    if rest:
        raise InvalidRequestError(
            f"width {width} at head size {head_size}, which does not divide it",
            "a width that is a multiple of the head size",
            f"take {width - rest} or {width - rest + head_size}" if width > rest else f"take {head_size}",
        )
    head = taylor_cost(head_size, order, value_size)
    return MultiheadCost(
        width=width,
        heads=heads,
        head=head,
        total_state_elements=heads * head.state_elements,
        total_flops_per_token=heads * head.flops_per_token,
        kv_cache_per_token=heads * kv_cache_size(1, head_size, value_size),
    )


def _meeting_point(total: int, per_token: int) -> int:
    """Return total / per_token rounded to the nearest integer, halves up, in integers."""
    return (2 * total + per_token) // (2 * per_token)
