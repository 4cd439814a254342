"""Our own forms as functions that somebody might put to the suites."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from verify.attention.variant import Variant
from verify.problem import Problem


def function_of(variant: Variant, arithmetic: str) -> Callable[..., Any]:
    """Return a form as a function of arrays; it raises for what the form does not serve."""

    def attention(
        query: Any,
        key: Any,
        value: Any,
        attn_mask: Any = None,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
        softcap: float | None = None,
        window: tuple[int, int] = (-1, -1),
        sinks: Any = None,
        seqlens_k: Any = None,
    ) -> Any:
        kind = "bias" if attn_mask is not None and attn_mask.dtype != bool else "mask"
        placed = is_causal or tuple(window) != (-1, -1)
        problem = Problem(
            query,
            key,
            value,
            scale=scale,
            causal=is_causal,
            alignment="top-left" if placed else None,
            softcap=softcap,
            window=window,
            sinks=sinks,
            lengths=seqlens_k,
            **{kind: attn_mask},
        )
        return variant.run(problem, arithmetic).value

    return attention
