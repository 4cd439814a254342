"""What the arguments of torch's scaled_dot_product_attention mean."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from verify.arguments import checked_flag, plain_array
from verify.errors import InvalidRequestError


def from_sdpa(
    query: ArrayLike,
    key: ArrayLike,
    attn_mask: ArrayLike | None,
    dropout_p: Any,
    is_causal: Any,
    scale: float | None,
    enable_gqa: Any,
) -> dict[str, Any]:
    """Return the parts of a problem beside q, k and v; see `verify.Problem.from_sdpa`."""
    causal, grouped = checked_flag("is_causal", is_causal), checked_flag("enable_gqa", enable_gqa)
    if not isinstance(dropout_p, Real) or dropout_p != 0:
        raise InvalidRequestError(
            f"dropout_p {dropout_p!r}, which drops at random", "0", "give Problem a dropout_mask, and dropout"
        )
    if causal and attn_mask is not None:
        raise InvalidRequestError("is_causal and an attn_mask", "one of the two, as in torch", "leave one out")
    shapes = [np.shape(plain_array(name, x)) for name, x in (("query", query), ("key", key))]
    heads = [shape[-3] if len(shape) > 2 else 1 for shape in shapes]
    if not grouped and heads[0] != heads[1]:
        raise InvalidRequestError(
            f"{heads[0]} heads of queries and {heads[1]} of keys", "as many, without enable_gqa", "set enable_gqa"
        )
    parts: dict[str, Any] = {"scale": scale, "causal": causal, "alignment": "top-left"}
    if attn_mask is not None:
        kind = plain_array("attn_mask", attn_mask).dtype
        if kind.kind in "iu":
            raise InvalidRequestError(
                f"an attn_mask of type {kind}, which may mean either",
                "booleans, True where a key is seen, or floating-point numbers that are added, as in torch",
                "give attn_mask == 1 where 1 stands for seen",
            )
        parts["mask" if kind == np.bool_ else "bias"] = attn_mask
    return parts
