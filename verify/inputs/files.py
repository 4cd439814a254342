"""Problems from files: .npz archives, three .npy files, .safetensors. What is not understood is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from verify.arguments import exact_float64
from verify.errors import InvalidRequestError
from verify.inputs import stated
from verify.inputs.bits import checked_bits, numbers_in
from verify.inputs.layouts import (
    checked_layout,
    heads_first,
    require_clear_axes,
    segments_of,
    without_leading_ones,
)
from verify.inputs.masks import role_of_mask
from verify.inputs.reading import Entry, opened
from verify.inputs.roles import OTHERS, assigned, checked_keys, is_vectors, results_of
from verify.numbers.arrays import Float64Array
from verify.problem import Problem

_TOKENS = ("q", "k", "v", *OTHERS)
_PAIRS = ("mask", "bias", "dropout_mask")
_PER_HEAD = ("alibi_slopes", "sinks", "q_descale", "k_descale", "v_descale")
_SEGMENTS = ("segments", "q_segment_ids", "kv_segment_ids")
_OFFSETS = ("cu_seqlens", "cu_seqlens_q", "cu_seqlens_k")
_LARGEST = ("max_seqlen_q", "max_seqlen_k")

# How roles that are no arrays are read; all others are.
_READ: Mapping[str, Callable[[str, Entry], Any]] = {
    "scale": stated.number,
    "causal": stated.flag,
    "alignment": stated.word,
    "layout": stated.word,
    "format": stated.word,
    "softcap": stated.number,
    "window": stated.pair,
    "dropout": stated.number,
    **dict.fromkeys(_LARGEST, stated.whole),
}

# By what libraries a file of tensors says that it was written.
_WRITERS = ("pt", "np", "tf", "flax", "jax", "mlx", "paddle")


@dataclass(frozen=True)
class FileContents:
    """What a file holds.

    others: arrays that are no part of the problem, by role: dout, a gradient for every element of the output.
    layout: that of the file; the arrays here are [..., heads, tokens, size] whatever it is.
    """

    problem: Problem
    others: Mapping[str, Float64Array]
    layout: str


@dataclass(frozen=True)
class _Held:
    """Entries of a file and what they are called there, by role.

    vectors: whether it is one of reference vectors.  digest: what that says is the problem's, unless it is ignored.
    """

    entries: Mapping[str, Entry]
    names: Mapping[str, str]
    vectors: bool
    digest: str | None


@dataclass(frozen=True)
class FileInput:
    """A problem in one .npz or .safetensors file, or q, k and v in three .npy files in that order.

    keys: what entries are, as in ("q=Q", "mask=pad"), or three names, of q, k and v; others are known by their usual
    names (`verify.inputs.roles.USUAL`).  ignore: names of entries to leave out.  scale, causal, alignment, layout: what
    the file does not say; it must not say otherwise.  bits: the format of numbers that are stored as bit patterns.

    Raises InvalidRequestError for arguments that mean nothing.
    """

    paths: tuple[str, ...]
    keys: tuple[str, ...] = ()
    scale: float | None = None
    causal: bool | None = None
    alignment: str | None = None
    layout: str | None = None
    bits: str | None = None
    ignore: tuple[str, ...] = ()
    kind: str = field(default="file", init=False)
    logit_std: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Check what can be checked without the file."""
        if not isinstance(self.paths, tuple) or not all(isinstance(path, str) for path in self.paths):
            raise InvalidRequestError(f"paths {self.paths!r}", "a tuple of texts", 'write ("FILE.npz",)')
        checked_keys(self.keys)
        checked_layout(self.layout)
        checked_bits(self.bits)
        if len(self.paths) > 1 and (self.keys or self.ignore):
            raise InvalidRequestError(
                f"keys or names to ignore with {self.name}", "none, as .npy files name nothing", "leave them out"
            )

    @property
    def name(self) -> str:
        """The path, or the three paths joined by commas."""
        return ",".join(self.paths)

    def load(self) -> Problem:
        """Read the problem; InvalidRequestError says what is wrong with the file or with what it holds."""
        return self.load_all().problem

    def load_all(self) -> FileContents:
        """Read the problem, and what else the file holds that is understood."""
        held = self._held()
        try:
            found = self._contents(held)
        except InvalidRequestError as error:
            raise InvalidRequestError(f"in {self.name}: {error.given}", error.expected, error.remedy) from error
        if held.digest is not None and held.digest != found.problem.digest:
            raise InvalidRequestError(
                f"{self.name} with a problem of digest {found.problem.digest[:16]}...",
                f"{held.digest[:16]}..., as it says",
                "leave out options that change it, or write the file anew; --ignore digest takes it as it is",
            )
        return found

    def _held(self) -> _Held:
        with opened(self.paths) as archive:
            vectors = is_vectors(archive.names)
            known = results_of(stated.word("member", archive.entry("member"))) if vectors else set()
            names = assigned(self.name, archive.names, checked_keys(self.keys), self.ignore, known)
            says = vectors and "digest" not in self.ignore
            digest = stated.word("digest", archive.entry("digest")) if says else None
            return _Held({role: archive.entry(name) for role, name in names.items()}, names, vectors, digest)

    def _contents(self, held: _Held) -> FileContents:
        names = held.names
        parts = {role: _READ.get(role, stated.array)(names[role], entry) for role, entry in held.entries.items()}
        for role in ("scale", "causal", "alignment", "layout"):
            if getattr(self, role) is not None:
                _require_agreement(role, getattr(self, role), parts.get(role), names.get(role))
                parts[role] = getattr(self, role)
        if parts.pop("format", "np") not in _WRITERS:
            raise InvalidRequestError(
                f"format {held.entries['format']!r}", "one of " + ", ".join(_WRITERS), "correct it"
            )
        layout = checked_layout(parts.pop("layout", None))
        tokens = {role: parts.pop(role) for role in _TOKENS if role in parts}
        tokens = heads_first(numbers_in(tokens, self.bits), layout)
        others = {role: tokens.pop(role) for role in OTHERS if role in tokens}
        pairs = (*tokens["q"].shape[:-1], tokens["k"].shape[-2])
        if not held.vectors:  # which are as a problem holds them
            _settle_masks(parts, names, pairs)
        if names.get("positions") == "cache_position" and any(role in parts for role in (*_SEGMENTS, *_OFFSETS)):
            raise InvalidRequestError(
                "cache_position with segments, which counts over all of them",
                "positions in their own segment",
                "store these as positions",
            )
        _settle_segments(parts, layout, {"q": tokens["q"].shape[-2], "k": tokens["k"].shape[-2]})
        _drop_leading_ones(parts, tokens["q"].ndim)
        problem = Problem(**{**tokens, **parts}, name=self.name)
        others = {role: _of_output(role, array, problem) for role, array in others.items()}
        return FileContents(problem, others, layout or "bhsd")


def _require_agreement(role: str, asked: Any, said: Any, name: str | None) -> None:
    """Raise InvalidRequestError if what is asked for is not what the file says."""
    if said is not None and said != asked:
        raise InvalidRequestError(
            f"{role} {asked} where the file says {said} ({name})", "one of the two", f"leave it out, or --ignore {name}"
        )


def _settle_masks(parts: dict[str, Any], names: Mapping[str, str], pairs: tuple[int, ...]) -> None:
    """Make a mask that is added to logits a bias, and refuse masks whose axes may mean two things."""
    if "mask" in parts and role_of_mask(names["mask"], parts["mask"], pairs) == "bias":
        if "bias" in parts:
            raise InvalidRequestError(
                f"{names['mask']} and {names['bias']}, both added to logits", "one of them", "store their sum as bias"
            )
        parts["bias"] = parts.pop("mask")
    for role in _PAIRS:
        if role in parts:
            parts[role] = without_leading_ones(parts[role], len(pairs))
            require_clear_axes(names.get(role, names.get("mask", role)), parts[role], pairs)


def _settle_segments(parts: dict[str, Any], layout: str | None, tokens: Mapping[str, int]) -> None:
    """Make one part of the segments, however the file says them."""
    offsets = {role: parts.pop(role) for role in _OFFSETS if role in parts}
    largest = {role: parts.pop(role) for role in _LARGEST if role in parts}
    said = {role: parts.pop(role) for role in _SEGMENTS if role in parts}
    if layout == "packed":
        if said:
            raise InvalidRequestError(f"{', '.join(said)} in layout packed", "cu_seqlens alone", "leave one out")
        parts["segments"] = segments_of(offsets, largest, tokens)
    elif offsets or largest:
        raise InvalidRequestError(
            f"{', '.join((*offsets, *largest))} without the layout that it belongs to",
            "layout packed",
            "--layout packed",
        )
    elif set(said) == {"q_segment_ids", "kv_segment_ids"}:
        parts["segments"] = (said["q_segment_ids"], said["kv_segment_ids"])
    elif set(said) == {"segments"}:
        parts["segments"] = said["segments"]
    elif said:
        raise InvalidRequestError(
            ", ".join(said),
            "segments of queries and keys, or one array for both",
            "give q_segment_ids and kv_segment_ids",
        )


def _drop_leading_ones(parts: dict[str, Any], axes: int) -> None:
    """Let arrays have axes of size 1 in front, as files without a batch do that are meant for those with one."""
    batch = max(axes - 3, 0)
    most = {"lengths": batch, "positions": batch + 1, **dict.fromkeys(_PER_HEAD, max(axes - 2, 0))}
    for role in most.keys() & parts.keys():
        parts[role] = without_leading_ones(parts[role], most[role])
    if isinstance(parts.get("segments"), tuple):
        parts["segments"] = tuple(without_leading_ones(side, batch + 1) for side in parts["segments"])
    elif "segments" in parts:
        parts["segments"] = without_leading_ones(parts["segments"], batch + 1)


def _of_output(role: str, array: Any, problem: Problem) -> Float64Array:
    """Return an array with a finite number for each element of the output."""
    exact = exact_float64(role, array)
    if exact.shape != problem.output_shape:
        raise InvalidRequestError(
            f"{role} of shape {list(exact.shape)}", f"that of the output, {list(problem.output_shape)}", "correct it"
        )
    return exact
