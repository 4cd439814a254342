"""What a function takes, read off its parameters: which parts of a problem it can be given, under which names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from verify.check.takes import ROLES, checked_takes
from verify.errors import InvalidRequestError, unknown
from verify.inputs.roles import USUAL
from verify.isolated.isolation import Call
from verify.numbers.arrays import Float64Array
from verify.numbers.formats import Format
from verify.problem import Problem

LAYOUTS = {
    "bhsd": "[batch, heads, tokens, size]",
    "bshd": "[batch, tokens, heads, size]",
    "hsd": "[heads, tokens, size]",
    "sd": "[tokens, size], one head",
}

# Says that there may be fewer heads of keys than of queries.
_GROUPED = "enable_gqa"

# What scaled_dot_product_attention takes: torch's own has no signature to be read.
_SDPA = ("attn_mask", "is_causal", "scale", _GROUPED)

Parameters = Sequence[tuple[str, str, bool]]


@dataclass(frozen=True)
class Interface:
    """How a function is called.

    layout: the order of its axes.  names: by role, the name of the parameter.  arrays: names of q, k and v if they are
    given by name.  grouped: whether it takes fewer heads of keys than of queries; flag: a parameter that says so.
    causal: whether it always is.  scale: the one that it always has, None for 1/sqrt(d_k).  needed: by role, parameters
    that cannot be left out.  unsaid: whether it takes names that nobody knows, and none was said.  dout: the parameter
    by which it takes a derivative by its output, to return gradients.
    """

    layout: str
    names: Mapping[str, str]
    arrays: tuple[str, str, str] | None = None
    grouped: bool = False
    flag: str | None = None
    causal: bool = False
    scale: float | None = None
    needed: Mapping[str, str] = field(default_factory=dict)
    unsaid: bool = False
    dout: str | None = None

    def takes(self, need: str) -> bool:
        """Say whether a function can be given what a case needs: a role, grouped, heads, full, added or is_causal."""
        if need == "grouped":
            return self.grouped and self.layout != "sd"
        if need == "heads":
            return self.layout != "sd"
        if need == "causal":
            return self.causal or "causal" in self.names
        if need == "is_causal":
            return "causal" in self.names and not self.causal
        if need == "full":  # every key seen by every query
            return not self.causal
        if need == "added":
            return bool({"mask", "bias"} & {*self.names})
        return need in self.names

    def lacking(self, problem: Problem) -> list[str]:
        """Return what a problem has that the function cannot be told, in words."""
        names, placed = self.names, problem.causal or problem.window != (None, None)
        grouped = problem.q.shape[:-2] != problem.k.shape[:-2]
        asked = {
            "a mask": problem.mask is not None and not {"mask", "bias"} & {*names},
            "a bias": problem.bias is not None and not {"mask", "bias"} & {*names},
            "causal": problem.causal and not self.takes("causal"),
            "keys after the query": self.causal and not problem.causal,
            "a scale": problem.scale != self.scale and (problem.scale is None or "scale" not in names),
            "a soft cap": problem.softcap is not None and "softcap" not in names,
            "a window": problem.window != (None, None) and "window" not in names,
            "sinks": problem.sinks is not None and "sinks" not in names,
            "sinks that differ by sequence": problem.sinks is not None and not _shared(problem.by_head(problem.sinks)),
            "lengths": problem.lengths is not None and "lengths" not in names,
            "fewer heads of keys": grouped and not self.grouped,
            "queries elsewhere than at their own index": placed and not _in_place(problem),
            "slopes": problem.alibi_slopes is not None,
            "segments": problem.segments is not None,
            "dropout": problem.dropout_mask is not None,
        }
        return [words for words, there in asked.items() if there]

    def require(self, problem: Problem, format_: Format, dout: Float64Array | None = None) -> None:
        """Raise InvalidRequestError for a problem that the function cannot be asked for as it is, in a format.

        dout: what gradients are asked for with.
        """
        arrays = {label: getattr(problem, label) for label in ("q", "k", "v", "bias", "sinks")} | {"dout": dout}
        for label, array in arrays.items():
            if array is not None and not np.array_equal(format_.rounded(array).astype(np.float64), array):
                raise InvalidRequestError(
                    f"{label} of {problem.name}, which {format_.name} does not hold",
                    "numbers of the format of inputs",
                    "round it, or choose another arithmetic",
                )
        lacking, axes = self.lacking(problem), {"hsd": 3, "sd": 2}.get(self.layout, 4)
        if lacking:
            raise InvalidRequestError(
                f"{problem.name} with {' and '.join(lacking)}", "what the function takes", "take another problem"
            )
        if problem.q.ndim != axes:
            raise InvalidRequestError(
                f"{problem.name} of {problem.q.ndim} axes", f"{axes}, {LAYOUTS[self.layout]}", "say its layout"
            )

    def call(self, problem: Problem, format_: Format, *, strided: bool = False) -> Call:
        """Return the call that asks a function for a problem; its arrays in a format, which holds them exactly."""
        q, k, v = (self.laid_out(format_.rounded(x)) for x in (problem.q, problem.k, problem.v))
        named: dict[str, NDArray[np.generic]] = {}
        keywords: dict[str, object] = {}
        if problem.mask is not None and problem.bias is None and "mask" in self.names:
            named[self.names["mask"]] = self._pairs(problem.mask, problem)
        elif problem.mask is not None or problem.bias is not None:
            added = np.zeros(1) if problem.bias is None else problem.bias
            hidden = added if problem.mask is None else np.where(problem.mask, added, -np.inf)
            name = self.names.get("bias") or self.names["mask"]
            named[name] = self._pairs(format_.rounded(hidden), problem)
        if "causal" in self.names:  # said always: what it does unasked may be either
            keywords[self.names["causal"]] = problem.causal
        if problem.scale is not None and "scale" in self.names:
            keywords[self.names["scale"]] = problem.scale
        if problem.softcap is not None:
            keywords[self.names["softcap"]] = problem.softcap
        if problem.window != (None, None):
            keywords[self.names["window"]] = [-1 if side is None else side for side in problem.window]
        if problem.sinks is not None:
            named[self.names["sinks"]] = format_.rounded(np.ravel(problem.sinks)[: problem.q.shape[-3]])
        if problem.lengths is not None:
            named[self.names["lengths"]] = problem.lengths.astype(np.int32)
        if self.flag is not None and problem.q.shape[:-2] != problem.k.shape[:-2]:
            keywords[self.flag] = True
        for role, name in self.needed.items():
            if name not in {*named, *keywords}:
                nothing = self._nothing(role, problem, format_)
                if isinstance(nothing, np.ndarray):
                    named[name] = nothing
                else:
                    keywords[name] = nothing
        if self.arrays is None:
            return Call([q, k, v], named, keywords, strided)
        return Call([], dict(zip(self.arrays, (q, k, v), strict=True)) | named, keywords, strided)

    def _nothing(self, role: str, problem: Problem, format_: Format) -> NDArray[np.generic] | object:
        """Return what changes nothing, for what a function cannot do without and a problem does not have."""
        arrays: dict[str, Callable[[], NDArray[np.generic]]] = {
            "mask": lambda: self._pairs(np.ones(1, dtype=np.bool_), problem),
            "bias": lambda: self._pairs(format_.rounded(np.zeros(1)), problem),
            "sinks": lambda: format_.rounded(np.full(problem.q.shape[-3:-2], -np.inf)),
            "lengths": lambda: np.full(problem.q.shape[:-3], problem.keys, dtype=np.int32),
        }
        plain = {"scale": problem.q.shape[-1] ** -0.5, "window": [-1, -1], "grouped": False}
        return arrays[role]() if role in arrays else plain.get(role)

    def call_for_gradients(self, problem: Problem, dout: Float64Array, format_: Format, *, strided: bool) -> Call:
        """Return the call that asks for gradients of sum(dout * output): returned, or followed by the framework."""
        call = self.call(problem, format_, strided=strided)
        given = self.laid_out(format_.rounded(dout))
        if self.dout is None:
            return replace(call, gradients="followed", dout=given)
        return replace(call, gradients="returned", named={**call.named, self.dout: given})

    def _pairs(self, array: NDArray[np.generic], problem: Problem) -> NDArray[np.generic]:
        """Return what broadcasts to pairs as [..., H, n_q, n_k]: not every function broadcasts."""
        return np.broadcast_to(array, (*problem.q.shape[:-1], problem.keys)).copy()

    def laid_out(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return [..., heads, tokens, size] in the function's layout."""
        return array.swapaxes(-2, -3) if self.layout == "bshd" else array

    def heads_first(self, output: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return an output of the function as [..., heads, tokens, size]."""
        return output.swapaxes(-2, -3) if self.layout == "bshd" and output.ndim > 2 else output

    def shape(self, problem: Problem) -> tuple[int, ...]:
        """Return the shape that the function's output has to have."""
        return self.laid_out(np.empty(problem.output_shape, np.int8)).shape


def _shared(sinks: NDArray[np.float64]) -> bool:
    """Say whether all sequences have the same sinks, [..., H]."""
    by_sequence = sinks.reshape((-1, sinks.shape[-1])) if sinks.ndim else sinks.reshape((1, 1))
    return bool((by_sequence == by_sequence[:1]).all())


def _in_place(problem: Problem) -> bool:
    """Say whether queries stand at their own index, as is_causal has it."""
    return all((positions == np.arange(problem.queries)).all() for positions, _ in problem.standing.values())


def interface(
    parameters: Parameters | None,
    layout: str,
    *,
    causal: bool = False,
    grouped: bool = False,
    scale: float | None = None,
    takes: Mapping[str, str] | None = None,
    backward: bool = False,
) -> Interface:
    """Return how a function of these parameters is called; InvalidRequestError for one that cannot be.

    parameters: name, kind and whether it may be left out, None where nobody knows: it is called with the names of
    scaled_dot_product_attention then, or with those that are said.  causal, grouped, scale: what the function always
    does, whatever its parameters.  takes: parameters by role, where its names are of its own or behind **kwargs.
    """
    if layout not in LAYOUTS:
        raise unknown(f"layout {layout!r}", layout, LAYOUTS)
    said = checked_takes({} if takes is None else takes)
    if parameters is None:
        names = {role: name for role in ROLES for name in USUAL[role] if name in _SDPA}
        names, flag = (_roles(said), said.get("grouped")) if said else (names, _GROUPED)
        return Interface(layout, names, _arrays(said, said), grouped or flag is not None, flag, causal, scale)
    named = [name for name, kind, _ in parameters if kind in ("POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY")]
    places = [name for name, kind, _ in parameters if kind in ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD")]
    free = [name for name in named if name not in said.values()]
    by_name = {role: next((n for n in free if n in _names_of(role)), "") for role in "qkv"}
    arrays = _arrays({role: name for role, name in (by_name | said).items() if name}, said)
    if arrays is None and len(places) < 3 and not any(kind == "VAR_POSITIONAL" for _, kind, _ in parameters):
        raise InvalidRequestError(
            f"a function of ({', '.join(name for name, _, _ in parameters)})", "one of q, k and v", "name another"
        )
    others = [name for name, _, _ in parameters if name not in (arrays or places[:3])]
    _require_named(said, parameters, [name for name in named if name in {*others, *(arrays or ())}])
    names = {role: name for role in ROLES for name in others if name in USUAL[role] and name in free}
    if "bias" not in names and "mask" in names and names["mask"] == "attn_bias":
        del names["mask"]
    dout = next((name for name in others if backward and name in USUAL["dout"]), None)
    needed = [
        name
        for name, kind, free_ in parameters
        if name in others
        and name != dout
        and not free_
        and kind in ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY")
    ]
    unmet = [name for name in needed if name not in said.values()]
    if unmet:
        raise InvalidRequestError(
            f"a function that needs {', '.join(unmet)}",
            "one that needs q, k and v alone; others may have defaults",
            "say --backward"
            if unmet[0] in USUAL["dout"]
            else "say what they are (--takes ROLE=PARAMETER,...), or wrap it in one that gives them",
        )
    flag = said.get("grouped", _GROUPED if _GROUPED in others and _GROUPED in free else None)
    return Interface(
        *(layout, names | _roles(said), arrays, grouped or flag is not None, flag, causal, scale),
        needed={role: name for role, name in said.items() if name in needed},
        unsaid=not said and any(kind == "VAR_KEYWORD" for _, kind, _ in parameters),
        dout=dout,
    )


def _roles(said: Mapping[str, str]) -> dict[str, str]:
    return {role: said[role] for role in ROLES if role in said}


def _arrays(names: Mapping[str, str], said: Mapping[str, str]) -> tuple[str, str, str] | None:
    """Return the names of q, k and v; None if they go by place, InvalidRequestError if only some of them are said."""
    lost = " and ".join(role for role in "qkv" if role not in names)
    if not lost:
        return names["q"], names["k"], names["v"]
    asked = [role for role in "qkv" if role in said]
    if asked:
        raise InvalidRequestError(
            f"takes with {' and '.join(asked)} and without {lost}", "all three, or none by name", "say all three"
        )
    return None


def _require_named(said: Mapping[str, str], parameters: Parameters, known: Sequence[str]) -> None:
    """Raise InvalidRequestError for a parameter that is said and that the function cannot be given by name."""
    own = [name for name, _, _ in parameters]
    behind = any(kind == "VAR_KEYWORD" for _, kind, _ in parameters)
    for role, name in said.items():
        if name in known or (behind and name not in own):
            continue
        if name in own:
            given = f"takes {role}={name}, a parameter that goes by place, as q, k and v do"
            raise InvalidRequestError(given, "one that goes by name", "say all of q, k and v too, or name another")
        given = f"takes {role}={name}, a parameter that the function does not have"
        raise unknown(given, name, known or own, "name one that it has")


def _names_of(role: str) -> tuple[str, ...]:
    return (*USUAL[role], USUAL[role][-1] + "s", USUAL[role][-1] + "_states")
