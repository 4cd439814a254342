"""Which parameter of a function a part of a problem goes to, where somebody says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from verify.errors import InvalidRequestError, unknown

# What a problem may have beside q, k and v, by role; other parameters are left at their defaults.
ROLES = ("mask", "bias", "scale", "causal", "softcap", "window", "sinks", "lengths")

# What can be said of a function: `grouped` is a parameter that says that there are fewer heads of keys.
SAYABLE = ("q", "k", "v", *ROLES, "grouped")


def read_takes(texts: Sequence[str]) -> dict[str, str]:
    """Return parameters by role from texts such as "mask=attn_mask"; InvalidRequestError if that is not what they are.

    read_takes(["mask=attn_mask", "causal=is_causal"])["mask"]    # "attn_mask"
    """
    found: dict[str, str] = {}
    for text in texts:
        role, equals, name = (part.strip() for part in text.partition("="))
        if not equals:
            raise InvalidRequestError(f"takes {text!r}", "ROLE=PARAMETER,..., as in mask=attn_mask", "correct it")
        if role in found:
            raise InvalidRequestError(f"takes with {role} twice", "each role once", "leave one out")
        found[role] = name
    return checked_takes(found)


def checked_takes(takes: Any) -> dict[str, str]:
    """Return parameters by role; InvalidRequestError for roles that there are not, and for a parameter named twice."""
    if not isinstance(takes, Mapping):
        raise InvalidRequestError(f"takes of type {type(takes).__name__}", "parameters by role", "give a dict")
    for role, name in takes.items():
        if role not in SAYABLE:
            raise unknown(f"takes with the role {role!r}", role, SAYABLE)
        if not isinstance(name, str) or not name.isidentifier():
            raise InvalidRequestError(f"takes {role}={name!r}", "the name of a parameter", "correct it")
    names = list(takes.values())
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InvalidRequestError(f"takes with {twice[0]} twice", "each parameter once", "leave one out")
    return dict(takes)
