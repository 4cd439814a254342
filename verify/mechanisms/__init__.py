"""The mechanisms there are, the registry that finds them, and plain functions of arrays."""

from verify.mechanisms.functions import logexp_attention, softmax_attention, taylor_attention
from verify.mechanisms.registry import Registry, baseline, known, named_member, named_variant

__all__ = [
    "Registry",
    "baseline",
    "known",
    "logexp_attention",
    "named_member",
    "named_variant",
    "softmax_attention",
    "taylor_attention",
]
