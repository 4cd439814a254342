"""The mechanisms under test, and the registry that lists their forms."""

from verify.attention.computed import AttentionOutput
from verify.attention.functions import logexp_attention, softmax_attention, taylor_attention
from verify.attention.registry import FORMS, Form, named_form
from verify.attention.state import LogExpState, TaylorState

__all__ = [
    "FORMS",
    "AttentionOutput",
    "Form",
    "LogExpState",
    "TaylorState",
    "logexp_attention",
    "named_form",
    "softmax_attention",
    "taylor_attention",
]
