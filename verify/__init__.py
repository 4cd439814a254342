"""attnproof's numerics: exact attention outputs, the formulations under test, and how far apart they are.

Names are loaded when first used, so that importing `verify` costs nothing.
"""

from typing import TYPE_CHECKING, Any

from verify.on_use import on_use

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

_found, _listed = on_use(__name__, _HOMES, _MODULES)


def __dir__() -> list[str]:
    return sorted({*_listed(), "__version__"})


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # it takes longer than all else here

        return version("attnproof")
    return _found(name)
