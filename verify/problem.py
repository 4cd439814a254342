"""One attention problem: queries, keys, values and what may attend to what. Checked once, here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from verify.arguments import checked_flag, checked_scale, exact_float64
from verify.errors import InvalidRequestError
from verify.integers import how_many
from verify.numbers.arrays import BoolArray, Float64Array
from verify.numbers.formats import Format

ALIGNMENTS = ("top-left", "bottom-right")


@dataclass(frozen=True)
class Head:
    """One query head of a problem with the keys and values it reads: all two-dimensional.

    index: position in the leading dimensions of q.  q: [n_q, d_k].  k: [n_k, d_k].  v: [n_k, d_v].
    shift: query i sees no key after i + shift; None if not causal.  mask: [n_q, n_k], or None.  scale: of the logits,
    None for 1/sqrt(d_k), exactly.
    """

    index: tuple[int, ...]
    q: Float64Array
    k: Float64Array
    v: Float64Array
    shift: int | None
    mask: BoolArray | None
    scale: float | None = None

    @property
    def float_scale(self) -> float:
        """The scale of the logits in float64."""
        return float_scale(self.scale, int(self.q.shape[1]))

    def logits(self, rows: slice = slice(None)) -> Float64Array:
        """Return scale q.k_t in float64 for some queries and all keys, attended or not, [rows, n_k]."""
        return np.asarray(self.float_scale * (self.q[rows] @ self.k.T))

    def attended(self, rows: slice = slice(None)) -> BoolArray:
        """Return which keys some queries may see, [rows, n_k]; what other queries see takes no memory."""
        queries, keys = np.arange(len(self.q))[rows], len(self.k)
        allowed = np.ones((len(queries), keys), dtype=np.bool_)
        if self.shift is not None:
            allowed &= np.arange(keys) <= queries[:, None] + self.shift
        if self.mask is not None:
            allowed &= self.mask[rows]
        return allowed


@dataclass(frozen=True, eq=False)
class Problem:
    """Attention inputs, exact binary numbers held as float64.

    q: [..., H, n_q, d_k].  k: [..., G, n_k, d_k].  v: [..., G, n_k, d_v].  Leading dimensions agree, but for the last
    of them (heads), where H may be a multiple of G (grouped queries: query heads g*H/G .. (g+1)*H/G - 1 read key head
    g).  Arrays with two dimensions are one head.

    scale: factor of the logits s = scale * (q . k).  None means exactly 1/sqrt(d_k), the real number: each arithmetic
    rounds it for itself and the reference does not round it at all.
    causal: query i sees keys up to i (alignment "top-left") or up to i + n_k - n_q ("bottom-right"); the alignment must
    be given when n_q != n_k.
    mask: boolean, broadcastable to [..., H, n_q, n_k], True where a query may see a key.  It combines with causal by
    "and".  A row in which no key may be seen has output zero.

    Raises InvalidRequestError for anything that is not such a problem, NaN and infinity included.
    """

    q: Float64Array
    k: Float64Array
    v: Float64Array
    scale: float | None = None
    causal: bool = False
    mask: BoolArray | None = None
    alignment: str | None = None
    name: str = field(default="problem", kw_only=True)

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
        name: str = "problem",
    ) -> None:
        """Check the inputs and hold them as read-only float64 arrays."""
        arrays = {label: exact_float64(label, values) for label, values in (("q", q), ("k", k), ("v", v))}
        _check_shapes(**arrays)
        shape = (*arrays["q"].shape[:-1], arrays["k"].shape[-2])
        fields = {
            **arrays,
            "scale": checked_scale(scale),
            "causal": checked_flag("causal", causal),
            "mask": _checked_mask(mask, shape),
            "alignment": _checked_alignment(alignment, causal, shape[-2], shape[-1]),
            "name": name,
        }
        for label, value in fields.items():
            object.__setattr__(self, label, value)

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

    @cached_property
    def attended(self) -> BoolArray | None:
        """What may see what, [..., H, n_q, n_k] (a read-only broadcast view), or None where everything may."""
        if not self.causal and self.mask is None:
            return None
        allowed = np.tri(self.queries, self.keys, self.keys if self.shift is None else self.shift, dtype=np.bool_)
        if self.mask is not None:
            allowed = allowed & self.mask
        return np.broadcast_to(allowed, (*self.q.shape[:-1], self.keys))

    @property
    def shift(self) -> int | None:
        """A causal query i sees keys up to i + shift: 0, or n_k - n_q; None if the problem is not causal."""
        if not self.causal:
            return None
        return self.keys - self.queries if self.alignment == "bottom-right" else 0

    def each_head(self) -> Iterator[Head]:
        """Yield the query heads one by one, in the order of the leading dimensions."""
        group = self.q.shape[-3] // self.k.shape[-3] if self.q.ndim > 2 else 1
        masks = None if self.mask is None else np.broadcast_to(self.mask, (*self.q.shape[:-1], self.keys))
        for index in np.ndindex(*self.q.shape[:-2]):
            shared = (*index[:-1], index[-1] // group) if index else ()
            mask = None if masks is None else masks[index]
            yield Head(index, self.q[index], self.k[shared], self.v[shared], self.shift, mask, self.scale)

    @cached_property
    def attended_rows(self) -> BoolArray:
        """Rows that see at least one key, [..., H, n_q]."""
        if self.mask is not None and self.attended is not None:  # without a mask, nothing quadratic
            return np.asarray(self.attended.any(axis=-1))
        sees_first = np.arange(self.queries) + (self.shift or 0) >= 0  # and with it every key up to i + shift
        return np.broadcast_to(sees_first & (self.keys > 0), self.q.shape[:-1])

    def rounded(self, format_: Format) -> Problem:
        """Return the problem with q, k and v rounded to nearest even in a format; self if that changes nothing.

        Raises InvalidRequestError if a value, or the scale, overflows the format.
        """
        rounded = {}
        exact = {"q": self.q, "k": self.k, "v": self.v, "scale": np.array(self.scale or 0.0)}
        for label, values in exact.items():
            rounded[label] = format_.rounded(values).astype(np.float64)
            if not np.isfinite(rounded[label]).all():
                raise InvalidRequestError(
                    f"{label} of {self.name} holds {np.abs(values).max():.6g}, which overflows {format_.name}",
                    f"magnitudes up to {format_.largest:.6g}",
                    "choose a wider arithmetic or rescale the inputs",
                )
        del rounded["scale"]  # it is part of the formula: rounding it belongs to the arithmetic
        if all(np.array_equal(rounded[label], getattr(self, label)) for label in rounded):
            return self
        return Problem(
            **rounded, scale=self.scale, causal=self.causal, mask=self.mask, alignment=self.alignment, name=self.name
        )

    def named(self, name: str) -> Problem:
        """Return the same problem under another name."""
        return Problem(self.q, self.k, self.v, self.scale, self.causal, self.mask, self.alignment, name=name)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything that determines the exact answer; the name is left out."""
        state = hashlib.sha256()
        layout = {
            "q": self.q.shape,
            "k": self.k.shape,
            "v": self.v.shape,
            "scale": None if self.scale is None else self.scale.hex(),
            "causal": self.causal,
            "alignment": self.alignment,
            "mask": None if self.mask is None else self.mask.shape,
        }
        state.update(json.dumps(layout, sort_keys=True).encode())
        for values in (self.q, self.k, self.v):
            # adding zero turns -0.0 into 0.0: no formula here can tell the two apart
            state.update(np.ascontiguousarray(values + 0.0, dtype="<f8").tobytes())
        if self.mask is not None:
            state.update(np.ascontiguousarray(self.mask).tobytes())
        return state.hexdigest()


def float_scale(scale: float | None, head_size: int) -> float:
    """Return a scale in float64, where none is given 1/sqrt(d_k)."""
    return float(head_size**-0.5) if scale is None else scale


def _check_shapes(q: Float64Array, k: Float64Array, v: Float64Array) -> None:
    shapes = f"q {list(q.shape)}, k {list(k.shape)}, v {list(v.shape)}"
    layout = "q [..., H, n_q, d_k], k [..., G, n_k, d_k], v [..., G, n_k, d_v]"
    if min(q.shape[-1], k.shape[-1], v.shape[-1]) < 1:
        raise InvalidRequestError(f"a size of zero in {shapes}", "d_k >= 1 and d_v >= 1", "check the last dimension")
    if q.shape[-1] != k.shape[-1]:
        raise InvalidRequestError(
            f"q of head size {q.shape[-1]} and k of head size {k.shape[-1]}",
            "the same head size d_k",
            f"check the last dimension of {shapes}",
        )
    if k.shape[:-1] != v.shape[:-1]:
        raise InvalidRequestError(f"k and v that disagree: {shapes}", layout, "give one value for every key")
    grouped = q.ndim > 2 and k.ndim == q.ndim and k.shape[-3] > 0 and q.shape[-3] % k.shape[-3] == 0
    if q.ndim != k.ndim or q.shape[:-3] != k.shape[:-3] or (q.ndim > 2 and not grouped):
        raise InvalidRequestError(
            f"leading dimensions that disagree: {shapes}", f"{layout} with H a multiple of G", "check the heads"
        )


def _checked_mask(mask: ArrayLike | None, shape: tuple[int, ...]) -> BoolArray | None:
    if mask is None:
        return None
    try:
        array = np.array(mask)
    except ValueError as error:
        raise InvalidRequestError(
            f"a mask of rows that differ ({error})", "an array", "give rows of one length"
        ) from None
    if array.dtype != np.bool_:
        raise InvalidRequestError(
            f"a mask of type {array.dtype}", "booleans, True where a query may see a key", "compare or convert it"
        )
    try:
        np.broadcast_to(array, shape)
    except ValueError:
        raise InvalidRequestError(
            f"a mask of shape {list(array.shape)}", f"a shape that broadcasts to {list(shape)}", "reshape the mask"
        ) from None
    array.flags.writeable = False
    return array


def _checked_alignment(alignment: str | None, causal: bool, queries: int, keys: int) -> str | None:
    if alignment is not None and alignment not in ALIGNMENTS:
        raise InvalidRequestError(f"alignment {alignment!r}", "one of " + ", ".join(ALIGNMENTS), "choose one of these")
    if not causal or queries == keys:
        return None
    if alignment is None:
        over = f"{how_many(queries, 'query', 'queries')} over {how_many(keys, 'key')}"
        raise InvalidRequestError(
            f"causal attention of {over} without an alignment",
            "one of " + ", ".join(ALIGNMENTS),
            "say where the last query stands: at its own index (top-left) or at the last key (bottom-right)",
        )
    return alignment
