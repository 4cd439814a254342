"""One attention problem: queries, keys, values and what may attend to what. Checked once, here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from verify.arguments import checked_flag, checked_scale, exact_tokens
from verify.errors import InvalidRequestError
from verify.numbers.arrays import BoolArray, Float64Array
from verify.numbers.formats import Format, named_format
from verify.problem import checks
from verify.problem.attendance import Attendance, Prefix, Prefixes, Window, joined_prefixes
from verify.problem.digest import digest_of
from verify.problem.glance import glance
from verify.problem.head import Head, float_scale
from verify.problem.positions import standing as positions_of
from verify.problem.sdpa import from_sdpa


@dataclass(frozen=True, eq=False, repr=False)
class Problem:
    """Attention inputs, exact binary numbers held as float64.

    q: [..., H, n_q, d_k].  k: [..., G, n_k, d_k].  v: [..., G, n_k, d_v].  Leading dimensions agree, but for the last
    of them (heads), where H may be a multiple of G (grouped queries: query heads g*H/G .. (g+1)*H/G - 1 read key head
    g).  Arrays with two dimensions are one head.

    Logits: s = scale (q . k); then softcap tanh(s / softcap); then bias and -alibi_slopes times the distance are added.
    scale: None means exactly 1/sqrt(d_k), the real number: each arithmetic rounds it for itself and the reference does
    not round it at all.  bias: broadcastable to [..., H, n_q, n_k]; minus infinity hides a key.  alibi_slopes: one for
    each head.  sinks: one logit for each head, whose weight counts in the sum of weights and has no value.

    What may be seen, rules combining by "and"; a row in which no key may be seen has output zero:
    causal: no key after the query (True or False, of numpy too; 0 and 1 stand for them).  window: (left, right), no key
    more than so many positions before or after it; None or -1 for no limit.  lengths: how many keys there are, [...]
    without heads; the rest is padding.  segments: numbers of those of queries [..., n_q] and keys [..., n_k]; a query
    sees its own.  mask: boolean, broadcastable to [..., H, n_q, n_k], True where a query may see a key.

    Keys stand at 0, 1, ..., queries at their own index (alignment "top-left") or so that the last stands at the last
    key that there is ("bottom-right"), or at `positions` [..., n_q]; all are counted in their own segment, from 0, if
    there are segments.  One of them must be given where causal, a window or slopes need it and queries and keys are
    not as many.

    dropout_mask: boolean, broadcastable to [..., H, n_q, n_k], True where a weight is kept; kept weights are divided by
    1 - dropout, after the sum of weights has been taken.  q_descale, k_descale, v_descale: factors that q, k and v are
    multiplied by exactly, one for each head [..., H] or key head [..., G].

    NaN and infinity in q, k or v are allowed where nothing attends, and count as 0 there.  Raises InvalidRequestError
    for anything that is not such a problem.

        Problem(q, k, v, causal=True, window=(128, 0), sinks=sinks)
    """

    q: Float64Array
    k: Float64Array
    v: Float64Array
    scale: float | None = None
    causal: bool = False
    mask: BoolArray | None = None
    alignment: str | None = None
    window: Window = (None, None)
    lengths: NDArray[np.int64] | None = None
    segments: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
    positions: NDArray[np.int64] | None = None
    softcap: float | None = None
    bias: Float64Array | None = None
    alibi_slopes: Float64Array | None = None
    sinks: Float64Array | None = None
    dropout_mask: BoolArray | None = None
    dropout: float = 0.0
    q_descale: Float64Array | None = None
    k_descale: Float64Array | None = None
    v_descale: Float64Array | None = None
    name: str = field(default="problem", kw_only=True)
    # by array: the type it was given in, and how many of its numbers are not finite and do not matter
    formats: Mapping[str, str] = field(init=False, default_factory=dict)
    unseen: Mapping[str, int] = field(init=False, default_factory=dict)
    # by index of the batch, where queries [n_q] and keys [n_k] stand
    standing: Mapping[tuple[int, ...], tuple[NDArray[np.int64], NDArray[np.int64]]] = field(
        init=False, default_factory=dict
    )

    def __init__(
        self,
        q: ArrayLike,
        k: ArrayLike,
        v: ArrayLike,
        scale: float | None = None,
        causal: bool = False,
        mask: ArrayLike | None = None,
        alignment: str | None = None,
        *,
        window: Sequence[int | None] | None = None,
        lengths: ArrayLike | None = None,
        segments: ArrayLike | tuple[ArrayLike, ArrayLike] | None = None,
        positions: ArrayLike | None = None,
        softcap: float | None = None,
        bias: ArrayLike | None = None,
        alibi_slopes: ArrayLike | None = None,
        sinks: ArrayLike | None = None,
        dropout_mask: ArrayLike | None = None,
        dropout: float = 0.0,
        q_descale: ArrayLike | None = None,
        k_descale: ArrayLike | None = None,
        v_descale: ArrayLike | None = None,
        name: str = "problem",
    ) -> None:
        """Check the inputs and hold them as read-only float64 arrays."""
        given: dict[str, Any] = {"q": q, "k": k, "v": v}
        arrays = {label: exact_tokens(label, values) for label, values in given.items()}
        checks.check_shapes(**arrays)
        lead, queries, keys = arrays["q"].shape[:-2], arrays["q"].shape[-2], arrays["k"].shape[-2]
        pairs, batch = (*lead, queries, keys), lead[:-1]
        formats = {label: str(np.asarray(values).dtype) for label, values in given.items()}
        descales = {"q_descale": q_descale, "k_descale": k_descale, "v_descale": v_descale}
        for label, factor in zip("qkv", descales, strict=True):
            arrays[label], descales[factor] = checks.descaled(label, arrays[label], descales[factor])
        seen = checks.checked_booleans("mask", mask, pairs)
        added, finite = checks.checked_bias(bias, pairs)
        if finite is not None:
            seen = finite if seen is None else checks.frozen(np.asarray(finite & seen))
        kept = checks.checked_booleans("dropout_mask", dropout_mask, pairs, "weight is kept")
        fields = {
            **arrays,
            "scale": checked_scale(scale),
            "causal": checked_flag("causal", causal),
            "mask": seen,
            "alignment": checks.checked_alignment(alignment),
            "window": checks.checked_window(window),
            "lengths": checks.checked_lengths(lengths, batch, keys),
            "segments": checks.checked_segments(segments, batch, queries, keys),
            "positions": checks.checked_whole(
                "positions", positions, (*batch, queries), checks.POSITIONS, "whole numbers, one for each query"
            ),
            "softcap": checks.checked_softcap(softcap),
            "bias": added,
            "alibi_slopes": checks.checked_per_head("alibi_slopes", alibi_slopes, lead),
            "sinks": checks.checked_per_head("sinks", sinks, lead),
            "dropout_mask": kept,
            "dropout": checks.checked_dropout(dropout, kept),
            **descales,
            "name": checks.checked_name(name),
            "formats": formats,
        }
        for label, value in fields.items():
            object.__setattr__(self, label, value)
        if self.positions is not None and self.alignment is not None:
            raise InvalidRequestError("positions and an alignment", "one of the two", "leave one out")
        self._take_positions()
        self._leave_out_unseen()

    def _take_positions(self) -> None:
        """Find where queries and keys of each of the batch stand; an alignment that changes nothing is left out."""
        standing, matters = {}, False
        what = "causal attention" if self.causal else "a window" if self.window != (None, None) else "alibi_slopes"
        positional = self.causal or self.window != (None, None) or self.alibi_slopes is not None
        for index in np.ndindex(*self.q.shape[:-3]):
            existing = self.keys if self.lengths is None else int(self.lengths[index])
            segments = None if self.segments is None else (self.segments[0][index], self.segments[1][index])
            positions, places, offsets = positions_of(self.queries, self.keys, existing, segments)
            if self.positions is not None:
                positions = self.positions[index]
            elif positional and offsets.any():
                matters = True
                if self.alignment is None:
                    raise checks.missing_alignment(self.queries, existing, what)
                positions = positions + offsets if self.alignment == "bottom-right" else positions
            standing[index] = positions, places
        object.__setattr__(self, "alignment", self.alignment if matters else None)
        object.__setattr__(self, "standing", standing)

    def _leave_out_unseen(self) -> None:
        """Put 0 in place of NaN and infinity where nothing attends; InvalidRequestError for them elsewhere."""
        unseen: dict[str, int] = {}
        if not all(np.isfinite(array).all() for array in (self.q, self.k, self.v)):
            keys = np.zeros(self.k.shape[:-1], dtype=np.bool_)
            for index in np.ndindex(*self.q.shape[:-2]):
                keys[self.shared_head(index)] |= self._attendance(index).seen
            for label, counts in (("q", self.attended_rows), ("k", keys), ("v", keys)):
                values, count = checks.check_finite(label, getattr(self, label), counts)
                object.__setattr__(self, label, values)
                unseen |= {label: count} if count else {}
        object.__setattr__(self, "unseen", unseen)

    def but(self, **changes: Any) -> Problem:
        """Return the problem with other parts; of what stays, the types that it was given in stay as well."""
        own = {label: getattr(self, label) for label in PARTS}
        found = Problem(**(own | changes))
        kept = {label: kind for label, kind in self.formats.items() if label not in changes}
        object.__setattr__(found, "formats", {**found.formats, **kept})
        for label in "qkv":
            factor = f"{label}_descale"
            object.__setattr__(found, factor, None if label in changes else getattr(self, factor))
        return found

    def __repr__(self) -> str:
        return glance(self)

    @property
    def head_size(self) -> int:
        """d_k, the size of one query or key."""
        return int(self.q.shape[-1])

    @property
    def value_size(self) -> int:
        """d_v, the size of one value."""
        return int(self.v.shape[-1])

    @property
    def float_scale(self) -> float:
        """The scale of the logits in float64."""
        return float_scale(self.scale, self.head_size)

    @property
    def queries(self) -> int:
        """n_q, tokens on the query side."""
        return int(self.q.shape[-2])

    @property
    def keys(self) -> int:
        """n_k, tokens on the key side."""
        return int(self.k.shape[-2])

    @property
    def heads(self) -> int:
        """Query heads, over all leading dimensions together."""
        return int(np.prod(self.q.shape[:-2], dtype=np.int64))

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the attention output, [..., H, n_q, d_v]."""
        return (*self.q.shape[:-1], self.value_size)

    @property
    def logit_changes(self) -> str:
        """By what logits are more than scale q.k, or more than those of keys, in words; empty if by nothing."""
        words = ("a soft cap", "a bias", "slopes", "sinks")
        parts = (self.softcap, self.bias, self.alibi_slopes, self.sinks)
        return " and ".join(word for word, part in zip(words, parts, strict=True) if part is not None)

    @property
    def adjustments(self) -> str:
        """The same, and dropout."""
        return self.logit_changes or ("dropout" if self.dropout_mask is not None else "")

    @property
    def hides(self) -> bool:
        """Whether some rule hides keys from queries."""
        return not all(attendance.everything for attendance in self._attendances())

    @cached_property
    def attended(self) -> BoolArray | None:
        """What may see what, [..., H, n_q, n_k] (read-only), or None where everything may.  Quadratic."""
        if not self.hides:
            return None
        pairs = (*self.q.shape[:-1], self.keys)
        shared = self.mask is None or self.mask.ndim < 3 or self.mask.shape[-3] == 1
        shape = (*self.q.shape[:-3], 1, *pairs[-2:]) if shared and self.q.ndim > 2 else pairs
        found = np.empty(shape, dtype=np.bool_)
        for index in np.ndindex(*shape[:-2]):
            found[index] = self._attendance(index).rows()
        return np.broadcast_to(found, pairs)

    @cached_property
    def attended_rows(self) -> BoolArray:
        """Rows that see at least one key, [..., H, n_q]."""
        rows = [attendance.seeing for attendance in self._attendances()]
        return np.array(rows, dtype=np.bool_).reshape(self.q.shape[:-1])

    def distances(self, keys: slice = slice(None)) -> NDArray[np.int64]:
        """Return how many positions apart queries and these keys are, [..., n_q, keys], with 1 for the heads.

        Quadratic.
        """
        found = [np.abs(positions[:, None] - places[keys]) for positions, places in self.standing.values()]
        shape = (*self.q.shape[:-3], *((1,) if self.q.ndim > 2 else ()), *found[0].shape)
        return np.array(found).reshape(shape)

    @cached_property
    def prefixes(self) -> Prefixes | None:
        """What running sums over keys have to know, if they serve the problem; None if they do not."""
        states = np.ndindex(*self.k.shape[:-2])
        found: dict[tuple[int, ...], list[Prefix | None]] = {index: [] for index in states}
        for index in np.ndindex(*self.q.shape[:-2]):
            found[self.shared_head(index)].append(self._attendance(index).prefixes())
        return joined_prefixes(list(found.values()), self.queries, self.keys)

    def _attendances(self) -> list[Attendance]:
        return [self._attendance(index) for index in np.ndindex(*self.q.shape[:-2])]

    def _attendance(self, index: tuple[int, ...]) -> Attendance:
        """Return what the queries of a head see."""
        positions, places = self.standing[index[:-1]]
        segments = None if self.segments is None else (self.segments[0][index[:-1]], self.segments[1][index[:-1]])
        return Attendance(
            positions,
            places,
            self.causal,
            self.window,
            self.keys if self.lengths is None else int(self.lengths[index[:-1]]),
            segments,
            None if self.mask is None else self._of_head(self.mask, index),
        )

    def by_head(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return what broadcasts to heads as one for each, [..., H]."""
        return np.broadcast_to(array, self.q.shape[:-2])

    def _of_head(self, array: NDArray[Any], index: tuple[int, ...]) -> NDArray[Any]:
        """Return the part of one head, [n_q, n_k], of what broadcasts to all."""
        found: NDArray[Any] = np.broadcast_to(array, (*self.q.shape[:-1], self.keys))[index]
        return found

    def each_head(self) -> Iterator[Head]:
        """Yield the query heads one by one, in the order of the leading dimensions."""
        for index in np.ndindex(*self.q.shape[:-2]):
            shared = self.shared_head(index)
            yield Head(
                index,
                self.q[index],
                self.k[shared],
                self.v[shared],
                self._attendance(index),
                self.scale,
                self.softcap,
                None if self.bias is None else self._of_head(self.bias, index),
                None if self.alibi_slopes is None else float(self.by_head(self.alibi_slopes)[index]),
                None if self.sinks is None else float(self.by_head(self.sinks)[index]),
                None if self.dropout_mask is None else self._of_head(self.dropout_mask, index),
                self.dropout,
            )

    def shared_head(self, index: tuple[int, ...]) -> tuple[int, ...]:
        """Return where the keys and values stand that a query head reads."""
        group = self.q.shape[-3] // self.k.shape[-3] if self.q.ndim > 2 else 1
        return (*index[:-1], index[-1] // group) if index else ()

    def rounded(self, format_: str | Format) -> Problem:
        """Return the problem with q, k and v rounded to nearest even in a format; self if that changes nothing.

        The format may be given by its name.  Raises InvalidRequestError if a value, or the scale, overflows it.
        """
        kind, exact = named_format(format_), {"q": self.q, "k": self.k, "v": self.v}
        checks.rounded(f"scale of {self.name}", np.array(self.scale or 0.0), kind)  # the arithmetic rounds it
        rounded = {label: checks.rounded(f"{label} of {self.name}", values, kind) for label, values in exact.items()}
        if all(np.array_equal(rounded[label], getattr(self, label)) for label in rounded):
            return self
        return self.but(**rounded)

    @classmethod
    def from_sdpa(
        cls,
        query: ArrayLike,
        key: ArrayLike,
        value: ArrayLike,
        attn_mask: ArrayLike | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Problem:
        """Return what scaled_dot_product_attention of torch is asked with the same arguments.

        Booleans of attn_mask say what may be seen, numbers are added to logits; is_causal aligns at the top left.  A
        row that sees nothing is 0 here.  Raises InvalidRequestError for what torch refuses, and for dropout, of which
        the mask is not known.

            Problem.from_sdpa(query, key, value, is_causal=True)
        """
        return cls(query, key, value, **from_sdpa(query, key, attn_mask, dropout_p, is_causal, scale, enable_gqa))

    def named(self, name: str) -> Problem:
        """Return the same problem under another name."""
        return self.but(name=name)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything that determines the exact answer; the name is left out."""
        return digest_of(self)


# What a problem is made of, under the names that its constructor knows.
PARTS = (
    *("q", "k", "v", "scale", "causal", "mask", "alignment", "window", "lengths", "segments", "positions", "softcap"),
    *("bias", "alibi_slopes", "sinks", "dropout_mask", "dropout", "name"),
)


def require_problem(problem: Any) -> None:
    """Raise InvalidRequestError for anything but a Problem."""
    if not isinstance(problem, Problem):
        raise InvalidRequestError(f"{type(problem).__name__} as the problem", "a Problem", "make one: Problem(q, k, v)")
