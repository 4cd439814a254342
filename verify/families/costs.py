"""What attention costs: conventional attention as published, what keeps keys and values, and what has features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from verify.arguments import checked_size
from verify.attention.cost import Cost
from verify.errors import InvalidRequestError, MechanismError

if TYPE_CHECKING:
    from verify.attention.contract import Member
    from verify.problem import Problem


def kv_cache_size(tokens: int, head_size: int, value_size: int | None = None) -> int:
    """Return n (d_k + d_v), the numbers in the cache of conventional attention. SA, section 2.6."""
    d = checked_size("head size", head_size)
    return checked_size("tokens", tokens, 0) * (
        d + (d if value_size is None else checked_size("value size", value_size))
    )


def conventional_flops_per_token(tokens: int, head_size: int, value_size: int | None = None) -> int:
    """Return n (2 d_k + 2 d_v + 3), the FLOPs of conventional attention for one token. SA, section 2.7."""
    d = checked_size("head size", head_size)
    d_v = d if value_size is None else checked_size("value size", value_size)
    return checked_size("tokens", tokens, 0) * (2 * d + 2 * d_v + 3)


def script_flops_per_token(tokens: int, head_size: int) -> int:
    """Return 6 n d, the FLOPs that the script of SA's authors charges conventional attention with d_k = d_v = d."""
    return checked_size("tokens", tokens, 0) * 6 * checked_size("head size", head_size)


def nearest(total: int, per_token: int) -> int:
    """Return total / per_token rounded to the nearest integer, halves up, in integers."""
    each = checked_size("numbers per token", per_token)
    return (2 * checked_size("numbers", total, 0) + each) // (2 * each)


def first_smaller(total: int, per_token: int) -> int:
    """Return the first context n at which total < n per_token."""
    return checked_size("numbers", total, 0) // checked_size("numbers per token", per_token) + 1


def pays_from(cost: FeatureCost) -> int:
    """Return the first context at which the state of a member is smaller than the cache of one head."""
    return first_smaller(cost.state_elements, kv_cache_size(1, cost.head_size, cost.value_size))


def meeting_contexts(head_size: int, value_size: int, state: int, flops: int | None) -> tuple[int, int | None]:
    """Return the contexts at which a state is as large as the cache, and FLOPs per token meet by the paper's count."""
    memory = nearest(state, kv_cache_size(1, head_size, value_size))
    return memory, None if flops is None else nearest(flops, conventional_flops_per_token(1, head_size, value_size))


@dataclass(frozen=True)
class FeatureCost:
    """What a mechanism with features costs for one head size, with the contexts at which it breaks even.

    mechanism, member: whose features; head_size, value_size: of q and k, and of v.
    order, terms, degree_features, dense_features, alpha: of a polynomial of the logits; order: the highest power;
    terms: order + 1; degree_features: of the highest degree alone; dense_features: without symmetry; alpha: the
    coefficient of the highest degree, exactly, as text: of (q.k)^p for Taylor, whose scale is fixed, and of s^p for any
    other polynomial.
    features: how many there are; state_elements: d_v + 1 numbers for each; flops_per_token: None where nothing is
    published or derived.

    A break-even is the context at which two costs meet, to the nearest token.  kv_break_even: the context at which
    state and cache hold as many numbers.  flop_break_even: the context at which FLOPs per token meet the paper's count
    n (2 d_k + 2 d_v + 3); flop_break_even_script: likewise the 6 n d of the authors' script, None unless d_k = d_v.
    """

    mechanism: str
    member: str
    head_size: int
    value_size: int
    order: int | None
    terms: int | None
    degree_features: int | None
    features: int
    state_elements: int
    flops_per_token: int | None
    kv_break_even: int
    flop_break_even: int | None
    flop_break_even_script: int | None
    dense_features: int | None
    alpha: str | None


@dataclass(frozen=True)
class PolynomialCost:
    """What of a cost only a polynomial of the logits has; `FeatureCost` says what each is."""

    order: int
    degree_features: int
    dense_features: int
    alpha: str


def feature_cost(
    member: Member,
    head_size: int,
    value_size: int | None,
    features: int,
    flops: int | None,
    polynomial: PolynomialCost | None = None,
) -> FeatureCost:
    """Return every cost of so many features, each with d_v + 1 numbers of state."""
    d = checked_size("head size", head_size)
    d_v = d if value_size is None else checked_size("value size", value_size)
    state = features * (d_v + 1)
    memory_context, flop_context = meeting_contexts(d, d_v, state, flops)
    script = None if flops is None or d_v != d else nearest(flops, script_flops_per_token(1, d))
    own = polynomial
    return FeatureCost(
        mechanism=member.of,
        member=member.name,
        head_size=d,
        value_size=d_v,
        order=None if own is None else own.order,
        terms=None if own is None else own.order + 1,
        degree_features=None if own is None else own.degree_features,
        features=features,
        state_elements=state,
        flops_per_token=flops,
        kv_break_even=memory_context,
        flop_break_even=flop_context,
        flop_break_even_script=script,
        dense_features=None if own is None else own.dense_features,
        alpha=None if own is None else own.alpha,
    )


@dataclass(frozen=True)
class MultiheadCost:
    """What W/d_k heads cost: a layer of fixed width W.

    kv_cache_per_token: numbers that conventional attention stores for every token, 2 W where d_v = d_k.  Break-even
    contexts are those of one head.
    """

    width: int
    heads: int
    head: FeatureCost
    total_state_elements: int
    total_flops_per_token: int | None
    kv_cache_per_token: int


def multihead_cost(width: int, head: FeatureCost) -> MultiheadCost:
    """Return the costs of W/d_k heads; InvalidRequestError if d_k does not divide W."""
    width = checked_size("width", width)
    heads, rest = divmod(width, head.head_size)
    if rest:
        given = f"width {width} at head size {head.head_size}, which does not divide it"
        fitting = (
            f"take {width - rest} or {width - rest + head.head_size}" if width > rest else f"take {head.head_size}"
        )
        raise InvalidRequestError(given, "a width that is a multiple of the head size", fitting)
    return MultiheadCost(
        width=width,
        heads=heads,
        head=head,
        total_state_elements=heads * head.state_elements,
        total_flops_per_token=None if head.flops_per_token is None else heads * head.flops_per_token,
        kv_cache_per_token=heads * kv_cache_size(1, head.head_size, head.value_size),
    )


def counts_of(member: Member, head_size: int, value_size: int | None) -> FeatureCost | None:
    """Return what a member's features cost, None if it has none; MechanismError if it says anything else."""
    found: Any = member.mechanism.counts(head_size, value_size, member)
    if found is not None and not isinstance(found, FeatureCost):
        raise MechanismError(f"counts {found!r} of {member.name}", "a FeatureCost, or None", "mend its counts")
    return found


def cache_cost(problem: Problem, member: Member) -> Cost:
    """Return the cost of a form that keeps keys and values, and whose operations nobody has published."""
    return Cost(None, kv_cache_size(problem.keys, problem.head_size, problem.value_size), None)
