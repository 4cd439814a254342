"""attnproof's numerics: exact attention outputs, the formulations under test, and how far apart they are.

Names are loaded when first used, so that importing `verify` costs nothing.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verify.errors import AttnproofError, CertificationError, InvalidRequestError, TooLargeError
    from verify.families.polynomial.basis import feature_count
    from verify.mechanisms import logexp_attention, named_member, named_variant, softmax_attention, taylor_attention
    from verify.mechanisms.logexp.state import LogExpState
    from verify.mechanisms.taylor.costs import flops_per_token, state_size
    from verify.mechanisms.taylor.state import TaylorState
    from verify.problem import Problem
    from verify.truth import Reference, reference

_HOMES = {
    "AttnproofError": "errors",
    "CertificationError": "errors",
    "InvalidRequestError": "errors",
    "LogExpState": "mechanisms.logexp.state",
    "Problem": "problem",
    "Reference": "truth",
    "TaylorState": "mechanisms.taylor.state",
    "TooLargeError": "errors",
    "feature_count": "families.polynomial.basis",
    "flops_per_token": "mechanisms.taylor.costs",
    "logexp_attention": "mechanisms",
    "named_member": "mechanisms",
    "named_variant": "mechanisms",
    "reference": "truth",
    "softmax_attention": "mechanisms",
    "state_size": "mechanisms.taylor.costs",
    "taylor_attention": "mechanisms",
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
    "named_member",
    "named_variant",
    "reference",
    "softmax_attention",
    "state_size",
    "taylor_attention",
]


_MODULES = {
    "conformance": "conformance",
    "errors": "errors",
    "families": "families",
    "formats": "numbers.formats",
    "inputs": "inputs",
    "mechanisms": "mechanisms",
    "problem": "problem",
    "recommend": "recommend",
    "sweep": "sweep",
    "testing": "testing",
    "truth": "truth",
}


def __dir__() -> list[str]:
    own = {name for name in globals() if name.startswith("__")}
    return sorted({*own, *__all__, *_MODULES, "__version__"})


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("attnproof")
    if name in _MODULES:
        return import_module(f"verify.{_MODULES[name]}")
    if name in _HOMES:
        return getattr(import_module(f"verify.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'verify' has no attribute {name!r}")
