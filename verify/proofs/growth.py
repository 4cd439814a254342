"""How state and FLOPs grow with head size, order and the number of heads: for all d and N."""

from __future__ import annotations

import sympy
from sympy import Integer

from verify.proofs.identities import FEATURES, FLOPS
from verify.proofs.proof import Equality, Limit, N, Positive, Proof, Step, W, d, d_v, plain

# d_v = d: what the paper's tables and its claim about head sizes are about
_BRACKET = sympy.cancel(FLOPS / FEATURES).subs(d_v, d)
_STATE_AT_WIDTH = W / d * (d + 1) * FEATURES
_FLOPS_AT_WIDTH = W / d * _BRACKET * FEATURES


def _next(expression: sympy.Expr, variable: sympy.Symbol) -> sympy.Expr:
    """Return the ratio of an expression at variable + 1 to itself, reduced."""
    ratio = expression.subs(variable, variable + 1) / expression
    return sympy.factor(sympy.gammasimp(ratio.rewrite(sympy.gamma)))


def _grows_with_head_size(cost: sympy.Expr, scale: sympy.Expr, name: str) -> tuple[Step, ...]:
    ratio = _next(cost, d)
    numerator, denominator = sympy.fraction(ratio)
    at_zero = sympy.factor(ratio.subs(N, 0))
    above, below = sympy.fraction(at_zero)
    return (
        Equality(f"{name} at d + 1 against d", cost.subs(d, d + 1) / cost, ratio),
        Positive("its denominator", sympy.expand(denominator), ((d, 1), (N, 0))),
        Positive("its numerator exceeds it for N >= 1", sympy.expand(numerator - denominator), ((d, 1), (N, 1))),
        Positive(f"at N = 0 it is {plain(at_zero)}, below 1", sympy.expand(below - above), ((d, 1),)),
        Limit(f"{name} over {plain(scale)} C(d + N, N), where C ~ d^N / N!", cost / FEATURES / scale, d, Integer(1)),
    )


GROWTH = (
    Proof(
        "growth with head size",
        "SA (13), (15)",
        "for every N, as d = d_v grows: features ~ d^N / N!, state ~ d^(N+1) / N!, FLOPs ~ 4 d^(N+1) / N!",
        (
            Equality("for N = 0", FEATURES, Integer(1), ((N, 0),)),
            Equality(
                "from N to N + 1 it is multiplied by",
                FEATURES.subs(N, N + 1) / FEATURES,
                (d + N + 1) / (N + 1),
            ),
            Limit("which is d / (N + 1) in the limit", (d + N + 1) / (N + 1) / (d / (N + 1)), d, Integer(1)),
            Limit("the state has the factor d + 1", (d + 1) / d, d, Integer(1)),
            Limit("the FLOPs have the bracket of SA (15)", _BRACKET / (4 * d), d, Integer(1)),
        ),
        "N",
    ),
    Proof(
        "growth with order",
        "SA (13), (15)",
        "for every d and d_v, as N grows: features ~ N^d / d!, state ~ (d_v + 1) N^d / d!, FLOPs ~ 2 N^(d+1) d /"
        " ((d + 1) d!): powers of N",
        (
            Equality("for d = 1", FEATURES, N + 1, ((d, 1),)),
            Limit("which is N in the limit", (N + 1) / N, N, Integer(1)),
            Equality("from d to d + 1 it is multiplied by", FEATURES.subs(d, d + 1) / FEATURES, (d + N + 1) / (d + 1)),
            Limit("which is N / (d + 1) in the limit", (d + N + 1) / (d + 1) / (N / (d + 1)), N, Integer(1)),
            Limit("the bracket of SA (15) over N", sympy.cancel(FLOPS / FEATURES) / N, N, 2 * d / (d + 1)),
            Limit("one more order multiplies the features by", (d + N + 1) / (N + 1), N, Integer(1)),
            Equality("and the dense d^N by", d ** (N + 1) / d**N, d),
        ),
        "d, d_v",
    ),
    Proof(
        "state at fixed width",
        "SA (13), abstract",
        "W/d heads of size d = d_v hold W (1 + 1/d) C(d + N, N) numbers: at d + 1 more than at d for every N >= 1,"
        " hence more for every larger head size, and so not inversely proportional to it; only at N = 0 less. Over"
        " W d^N / N! it tends to 1",
        _grows_with_head_size(_STATE_AT_WIDTH, W, "the state"),
        "d, N",
    ),
    Proof(
        "FLOPs at fixed width",
        "SA (15), abstract",
        "W/d heads of size d = d_v take more FLOPs per token at d + 1 than at d for every N >= 1, hence more for every"
        " larger head size; only at N = 0 fewer. Over 4 W d^N / N! they tend to 1",
        _grows_with_head_size(_FLOPS_AT_WIDTH, 4 * W, "the FLOPs"),
        "d, N",
    ),
)
