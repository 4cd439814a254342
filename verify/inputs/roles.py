"""What entries of an input file mean: by their usual names, or as they are named; or nothing, which is refused."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

from verify.errors import InvalidRequestError, unknown

# By role, the names under which files hold it elsewhere; a role's own name comes first.
USUAL: Mapping[str, tuple[str, ...]] = {
    "q": ("q", "query"),
    "k": ("k", "key"),
    "v": ("v", "value"),
    "mask": ("mask", "attn_mask", "attention_mask"),
    "bias": ("bias", "attn_bias", "attention_bias"),
    "scale": ("scale", "softmax_scale", "sm_scale"),
    "causal": ("causal", "is_causal"),
    "alignment": ("alignment",),
    "softcap": ("softcap", "soft_cap", "logits_soft_cap", "logit_softcap"),
    "window": ("window", "window_size"),
    "sinks": ("sinks", "sink", "s_aux", "learnable_sink"),
    "alibi_slopes": ("alibi_slopes", "slopes"),
    "lengths": ("lengths", "seqlens_k", "cache_seqlens", "seqused_k", "nonpad_kv_seqlen"),
    "segments": ("segments", "segment_ids"),
    "q_segment_ids": ("q_segment_ids", "segment_ids_q"),
    "kv_segment_ids": ("kv_segment_ids", "segment_ids_kv"),
    "positions": ("positions", "cache_position"),
    "dropout_mask": ("dropout_mask",),
    "dropout": ("dropout", "dropout_p"),
    "q_descale": ("q_descale",),
    "k_descale": ("k_descale",),
    "v_descale": ("v_descale",),
    "layout": ("layout",),
    "cu_seqlens": ("cu_seqlens",),
    "cu_seqlens_q": ("cu_seqlens_q",),
    "cu_seqlens_k": ("cu_seqlens_k", "cu_seqlens_kv"),
    "max_seqlen_q": ("max_seqlen_q",),
    "max_seqlen_k": ("max_seqlen_k",),
    "dout": ("dout", "do", "grad_output", "dO"),
    "format": ("format",),
}

# Roles of no part of a problem, which it can do without.
OTHERS = ("dout",)

# Gradients that such a file may hold.
GRADIENTS = ("dq", "dk", "dv", "dbias", "dsinks")

# What a file of reference vectors holds beside its problem and the parameters of its mechanism.
RESULTS = (
    "attnproof_version",
    "mechanism",
    "member",
    "digits",
    "digits_asked",
    "input",
    "problem",
    "digest",
    "value",
    "decimal",
    "radius",
    "essentially_zero",
    "normaliser_sign",
    *(f"{name}{kind}" for name in ("lse", "lse2") for kind in ("", "_decimal", "_radius")),
    "gradient_digits",
    *(f"{name}{kind}" for name in GRADIENTS for kind in ("", "_decimal", "_radius", "_essentially_zero")),
    *("rounded", "rounded_format", "bound", "bound_probable", "bound_arithmetic", "bound_form", "rows"),
)

# By these a file of reference vectors is known.
_VECTORS = {"mechanism", "member", "digest", "value", "decimal", "radius"}

_BY_NAME = {name: role for role, names in USUAL.items() for name in names}

# Names that mean different things in different libraries.
_DOUBTFUL = {
    **dict.fromkeys(
        ("sliding_window", "local_window_size"),
        "libraries differ by one in whether the own token counts: store window_size, (left, right)",
    ),
    "key_padding_mask": "True means hidden there: store its inverse as mask",
}

# Every name that means something in a file.
RESERVED = {*_BY_NAME, *RESULTS, *_DOUBTFUL}


def checked_keys(keys: Sequence[str]) -> dict[str, str]:
    """Return entries by role, from texts such as "mask=pad", or from three, the names of q, k and v."""
    text = ",".join(keys)
    named = [key.partition("=") for key in keys]
    if keys and not any(equals for _, equals, _ in named):
        if len(set(keys)) != 3 or len(keys) != 3 or "" in keys:
            raise InvalidRequestError(
                f"keys {text!r}", "three different names, of q, k and v, or ROLE=NAME,...", "name all three"
            )
        return dict(zip("qkv", keys, strict=True))
    for role, equals, entry in named:
        if not equals or not entry:
            raise InvalidRequestError(f"keys {text!r}", "ROLE=NAME,..., as in q=Q,mask=pad", "correct it")
        if role not in USUAL:
            raise unknown(f"keys with the role {role!r}", role, USUAL)
    found = {role: entry for role, _, entry in named}
    if len(found) < len(keys) or len(set(found.values())) < len(keys):
        raise InvalidRequestError(f"keys {text!r}", "each role and each name once", "leave one out")
    return found


def assigned(
    path: str, held: Sequence[str], keys: Mapping[str, str], ignored: Iterable[str], known: Container[str]
) -> dict[str, str]:
    """Return the name of the entry of every role that a file fills.

    keys: entries by role, as named by whoever asks.  ignored: names to leave out.  known: names of what is no part of
    a problem.  Raises InvalidRequestError for whatever is not understood.
    """
    for name in (*ignored, *keys.values()):
        if name not in held:
            raise InvalidRequestError(
                f"{path} without {name}: it holds {_listed(held)}",
                "names of what it holds",
                "correct --keys or --ignore",
            )
    found = dict(keys)
    unknown = []
    for name in held:
        if name in ignored or name in keys.values() or name in known:
            continue
        role = _BY_NAME.get(name)
        if role is None:
            unknown.append(name)
        elif role in found:
            raise InvalidRequestError(
                f"{path} with {found[role]} and {name}, which both mean {role}",
                "one of them",
                f"--ignore {name}, or the other",
            )
        else:
            found[role] = name
    missing = [role for role in "qkv" if role not in found]
    if missing:
        raise InvalidRequestError(
            f"{path} without {', '.join(missing)}: it holds {_listed(held)}",
            "arrays q, k and v",
            "name them: --keys q=NAME,k=NAME,v=NAME",
        )
    if unknown:
        doubts = "".join(f" ({name}: {_DOUBTFUL[name]})" for name in unknown if name in _DOUBTFUL)
        raise InvalidRequestError(
            f"{path} with {', '.join(unknown)}, not known here{doubts}",
            "entries that are understood, as nothing is left out in silence",
            f"say what it is (--keys ROLE=NAME, of {', '.join(USUAL)}) or leave it out (--ignore {','.join(unknown)})",
        )
    return found


def is_vectors(held: Iterable[str]) -> bool:
    """Say whether names are those of a file of reference vectors."""
    return set(held) >= _VECTORS


def results_of(member: str) -> set[str]:
    """Return the names of what reference vectors hold beside their problem: results, and parameters of the member.

    member: its name, as in "taylor:order=3".
    """
    _, _, text = member.partition(":")
    return {*RESULTS, *({part.partition("=")[0] for part in text.split(",") if "=" in part} - RESERVED)}


def _listed(held: Iterable[str]) -> str:
    return ", ".join(sorted(held)) or "nothing"
