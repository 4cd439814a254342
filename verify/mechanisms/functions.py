"""The mechanisms as plain functions of arrays."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from verify.attention.variant import Variant
from verify.mechanisms.registry import known, named_member, named_variant
from verify.numbers.arithmetic import Arithmetic
from verify.problem import PARTS, Problem

# What `parts` may name; the others of a problem have arguments of their own.
_PARTS = {*PARTS, "q_descale", "k_descale", "v_descale"}


def softmax_attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    *,
    scale: float | None = None,
    causal: bool = False,
    alignment: str | None = None,
    mask: ArrayLike | None = None,
    arithmetic: str | Arithmetic = "float64",
    **parts: Any,
) -> NDArray[Any]:
    """Return conventional attention, sum_t exp(s_t) v_t / sum_t exp(s_t) with s_t = scale q.k_t.

    q [..., H, n_q, d_k], k [..., G, n_k, d_k], v [..., G, n_k, d_v] -> [..., H, n_q, d_v] in the arithmetic's format;
    shapes, scale, causal, alignment and mask as in `verify.Problem`.  parts: the others of a problem, as there: window,
    lengths, segments, positions, softcap, bias, alibi_slopes, sinks, dropout_mask with dropout, and descales.  NaN and
    infinity stay where the arithmetic gives them; `named_variant(...).run(...)` of `verify.mechanisms` also returns the
    sums of weights and the hazards.  Raises InvalidRequestError for a wrong request.
    """
    problem = Problem(q, k, v, scale=scale, causal=causal, mask=mask, alignment=alignment, **parts)
    return named_variant("softmax/softmax").run(problem, arithmetic).value


def logexp_attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    *,
    causal: bool = False,
    alignment: str | None = None,
    mask: ArrayLike | None = None,
    form: str = "stream",
    arithmetic: str | Arithmetic = "float64",
    **parts: Any,
) -> NDArray[Any]:
    """Return log-exp attention, softmax(log(exp(Q) exp(K)^T)) V, LE (1); v may have any sign.

    Shapes and parts as in `softmax_attention`; the mechanism has no logits, so no scale, and nothing that changes them.
    Raises InvalidRequestError for a wrong request; the form quadratic alone takes a mask.
    """
    problem = Problem(q, k, v, causal=causal, alignment=alignment, mask=mask, **parts)
    return Variant(named_member("logexp"), form).run(problem, arithmetic).value


def taylor_attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    *,
    order: int,
    scale: float | None = None,
    causal: bool = False,
    alignment: str | None = None,
    mask: ArrayLike | None = None,
    form: str = "packed",
    arithmetic: str | Arithmetic = "float64",
    **parts_and_options: Any,
) -> NDArray[Any]:
    """Return Taylor attention, softmax attention with exp cut after the power `order`, SA (9).

    Shapes and parts as in `softmax_attention`.  options: those of the form; packed and stream have side, degrees and
    memory_limit, see `verify.families.polynomial.forms.packed`.  Raises InvalidRequestError for a wrong request,
    TooLargeError where the features would not fit into memory; forms with a state take masks that hide a key from all
    queries.
    """
    options = dict(parts_and_options)
    parts = {name: options.pop(name) for name in parts_and_options if name in _PARTS}
    problem = Problem(q, k, v, scale=scale, causal=causal, alignment=alignment, mask=mask, **parts)
    member = known().mechanism("taylor").member(order=order)
    limits = {name: options.pop(name) for name in ("watch", "memory_limit") if name in options}
    variant = Variant(member, form, tuple(options.items()))
    return variant.run(problem, arithmetic, **limits).value
