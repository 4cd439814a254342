"""attnproof's numerics: exact attention outputs, the formulations under test, and how far apart they are.

Names are loaded when first used, so that importing `verify` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verify.attention import LogExpState, TaylorState, logexp_attention, softmax_attention, taylor_attention
    from verify.cost import feature_count, flops_per_token, state_size
    from verify.errors import AttnproofError, CertificationError, InvalidRequestError, TooLargeError
    from verify.problem import Problem
    from verify.truth import Reference, reference

_HOMES = {
    "AttnproofError": "errors",
    "CertificationError": "errors",
    "InvalidRequestError": "errors",
    "LogExpState": "attention",
    "Problem": "problem",
    "Reference": "truth",
    "TaylorState": "attention",
    "TooLargeError": "errors",
    "feature_count": "cost",
    "flops_per_token": "cost",
    "logexp_attention": "attention",
    "reference": "truth",
    "softmax_attention": "attention",
    "state_size": "cost",
    "taylor_attention": "attention",
}

__all__ = [
    "AttnproofError",
    "CertificationError",
    "InvalidRequestError",
    "LogExpState",
    "Problem",
    "Reference",
    "TaylorState",
    "TooLargeError",
    "feature_count",
    "flops_per_token",
    "logexp_attention",
    "reference",
    "softmax_attention",
    "state_size",
    "taylor_attention",
]


_MODULES = {
    "errors": "errors",
    "formats": "numbers.formats",
    "inputs": "inputs",
    "problem": "problem",
    "truth": "truth",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"verify.{_MODULES[name]}")
    if name in _HOMES:
        return getattr(import_module(f"verify.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'verify' has no attribute {name!r}")
