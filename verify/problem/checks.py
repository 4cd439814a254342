"""What the parts of a problem have to be: each checked once, and refused in one line."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from verify.arguments import exact_numbers, plain_array, whole
from verify.errors import InvalidRequestError, unknown
from verify.integers import how_many
from verify.numbers.arrays import BoolArray, Float64Array
from verify.numbers.formats import Format
from verify.problem.attendance import ALIGNMENTS, Window

# Bits of a float64 number.
_BITS = 53

# Beyond every position and number of a segment.
_MOST = 2**53
POSITIONS = (-_MOST, _MOST)


def check_shapes(q: Float64Array, k: Float64Array, v: Float64Array) -> None:
    """Raise InvalidRequestError for arrays that do not belong together."""
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


def checked_booleans(
    name: str, values: ArrayLike | None, shape: tuple[int, ...], meaning: str = "query may see a key"
) -> BoolArray | None:
    """Return booleans that broadcast to a shape, read-only; None as it is."""
    if values is None:
        return None
    array = plain_array(name, values)
    if array.dtype != np.bool_:
        expected, remedy = f"booleans, True where a {meaning}", f"where 1 stands for it, give {name} == 1"
        if array.dtype.kind in "fV" and name == "mask":
            remedy = "what is added to logits is a bias: give it as bias; where 1 stands for seen, give mask == 1"
        raise InvalidRequestError(f"a {name} of type {array.dtype}", expected, remedy)
    array = np.array(array)
    _require_shape(name, array, shape)
    return frozen(array)


def checked_bias(bias: ArrayLike | None, shape: tuple[int, ...]) -> tuple[Float64Array | None, BoolArray | None]:
    """Return a bias without what hides keys, and the mask that minus infinity in it amounts to; each None if nothing.

    NaN and plus infinity are refused.
    """
    if bias is None:
        return None, None
    if plain_array("bias", bias).dtype == np.bool_:
        raise InvalidRequestError(
            "a bias of type bool", "numbers that are added to logits", "give True where a key is seen as mask"
        )
    exact = exact_numbers("bias", bias)
    _require_shape("bias", exact, shape)
    wrong = np.isnan(exact) | (exact == np.inf)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise InvalidRequestError(
            f"bias holds {exact[place]} at index {list(place)}",
            "numbers, or minus infinity to hide a key",
            "correct it",
        )
    hidden = exact == -np.inf
    mask = frozen(~hidden) if hidden.any() else None
    added = np.where(hidden, 0.0, exact)
    nothing = mask is not None and not added.any()  # a mask in other words; zeros alone are a bias that has a gradient
    return (None if nothing else frozen(added)), mask


def checked_per_head(name: str, values: ArrayLike | None, shape: tuple[int, ...]) -> Float64Array | None:
    """Return finite numbers that broadcast to one for each head, read-only; None as it is."""
    if values is None:
        return None
    exact = exact_numbers(name, values)
    if not np.isfinite(exact).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(exact))[0])
        raise InvalidRequestError(f"{name} holds {exact[place]} at index {list(place)}", "finite numbers", "correct it")
    _require_shape(name, exact, shape, "one for each head, ")
    return frozen(exact)


def checked_softcap(softcap: Any) -> float | None:
    """Return the soft cap of the logits; 0 stands for none, as elsewhere."""
    if softcap is None:
        return None
    value = _number("softcap", softcap)
    if not 0.0 <= value < np.inf:
        raise InvalidRequestError(
            f"softcap {value:g}", "a number above 0, or 0 for none", "correct it, or leave it out"
        )
    return value or None


def checked_window(window: Any) -> Window:
    """Return how many keys before and after itself a query sees; -1 stands for no limit, as elsewhere."""
    if window is None:
        return None, None
    given = plain_array("window", window, kind=object).tolist()
    if not isinstance(given, list) or len(given) != 2:
        raise InvalidRequestError(
            f"window {window!r}", "two numbers, keys before and after", "write (left, right), -1 for no limit"
        )
    ends: list[int | None] = []
    for end in given:
        found = whole(end)
        if end is not None and (found is None or not -1 <= found <= _MOST):
            raise InvalidRequestError(
                f"a window of {end!r}", "whole numbers from 0 to 2**53, or -1 for no limit", "correct it"
            )
        ends.append(None if found == -1 else found)
    return ends[0], ends[1]


def checked_whole(
    name: str, values: ArrayLike | None, shape: tuple[int, ...], bounds: tuple[int, int], expected: str
) -> NDArray[np.int64] | None:
    """Return whole numbers between bounds, both allowed, broadcast to a shape; None as it is."""
    if values is None:
        return None
    array = plain_array(name, values)
    if array.dtype.kind not in "iu":
        raise InvalidRequestError(f"{name} of type {array.dtype}", expected, "give integers")
    for number in (int(array.min()), int(array.max())) if array.size else ():
        if not bounds[0] <= number <= bounds[1]:
            raise InvalidRequestError(f"{name} of {number}", expected, "correct it")
    _require_shape(name, array, shape)
    return frozen(np.array(np.broadcast_to(array, shape), dtype=np.int64))


def checked_lengths(lengths: ArrayLike | None, batch: tuple[int, ...], keys: int) -> NDArray[np.int64] | None:
    """Return how many keys there are for each of the batch; None as it is."""
    expected = f"whole numbers from 0 to n_k = {keys}, one for each of the batch"
    return checked_whole("lengths", lengths, batch, (0, keys), expected)


def checked_segments(
    segments: Any, lead: tuple[int, ...], queries: int, keys: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return the numbers of the segments of queries and keys; one array serves for both where n_q = n_k."""
    if segments is None:
        return None
    expected = "whole numbers of at least 0: for queries [n_q] and keys [n_k], or one for both if n_q = n_k"
    pair = segments if isinstance(segments, tuple) else (segments, segments)
    if len(pair) != 2:
        raise InvalidRequestError(f"{len(pair)} arrays of segments", expected, "give two, or one for both")
    sides = (("segments of queries", pair[0], queries), ("segments of keys", pair[1], keys))
    of_q, of_k = (checked_whole(name, side, (*lead, count), (0, _MOST), expected) for name, side, count in sides)
    assert of_q is not None, "both are given"
    assert of_k is not None, "both are given"
    return of_q, of_k


def checked_name(name: Any) -> str:
    """Return what a problem is called."""
    if not isinstance(name, str):
        raise InvalidRequestError(f"a name of type {type(name).__name__}", "a text", "give str(name)")
    return name


def rounded(label: str, values: Float64Array, format_: Format) -> Float64Array:
    """Return values rounded to nearest even in a format, as float64; InvalidRequestError if one overflows."""
    found: Float64Array = format_.rounded(values).astype(np.float64)
    if not np.isfinite(found).all():
        raise InvalidRequestError(
            f"{label} holds {np.abs(values).max():.6g}, which overflows {format_.name}",
            f"magnitudes up to {format_.largest:.6g}",
            "choose a wider arithmetic or rescale the inputs",
        )
    return found


def checked_alignment(alignment: Any) -> str | None:
    """Return the word, or None."""
    if alignment is not None and alignment not in ALIGNMENTS:
        raise unknown(f"alignment {alignment!r}", alignment, ALIGNMENTS)
    return None if alignment is None else str(alignment)


def missing_alignment(queries: int, keys: int, what: str) -> InvalidRequestError:
    """Return what is to be raised where it is not said where queries stand."""
    over = f"{how_many(queries, 'query', 'queries')} over {how_many(keys, 'key')}"
    return InvalidRequestError(
        f"{what} of {over} without an alignment",
        "one of " + ", ".join(ALIGNMENTS),
        "say where the last query stands: at its own index (top-left) or at the last key (bottom-right), by --alignment"
        " or alignment=",
    )


def checked_dropout(dropout: Any, mask: BoolArray | None) -> float:
    """Return the probability p of a dropout whose mask is given: what is kept is divided by 1 - p."""
    value = _number("dropout", 0.0 if dropout is None else dropout)
    if not 0.0 <= value < 1.0:
        raise InvalidRequestError(f"dropout {value:g}", "a probability from 0, below 1", "correct it")
    if value and mask is None:
        raise InvalidRequestError(
            f"dropout {value:g} without what it drops",
            "a dropout_mask, True where a weight is kept",
            "give it, or drop nothing",
        )
    return value


def descaled(label: str, values: Float64Array, descale: ArrayLike | None) -> tuple[Float64Array, Float64Array | None]:
    """Return values [..., G, n, size] times a factor for each head, exactly, and the factors [..., G].

    Raises InvalidRequestError for factors that do not belong to the heads, or products that float64 rounds.
    """
    name = f"{label}_descale"
    factors = checked_per_head(name, descale, values.shape[:-2])
    if factors is None:
        return values, None
    factors = frozen(np.array(np.broadcast_to(factors, values.shape[:-2])))
    with np.errstate(all="ignore"):
        product = values * factors[..., None, None]
    finite = np.isfinite(values)
    lengths = _significant_bits(values[finite]), _significant_bits(factors)
    bits = max(lengths) if min(lengths) == 1 else sum(lengths)  # a power of two has one, and adds none
    size = np.abs(product[finite & (product != 0)])
    vanished = (finite & (product == 0) & (values != 0) & (factors[..., None, None] != 0)).any()
    if bits > _BITS or vanished or not (size < np.inf).all() or size.min(initial=1.0) < 2.0**-969:
        raise InvalidRequestError(
            f"{label} times {name}, which float64 rounds", "factors of few bits, as float32 has", "give them in float32"
        )
    return frozen(product), factors


def check_finite(label: str, values: Float64Array, counts: BoolArray) -> tuple[Float64Array, int]:
    """Return values [..., tokens, size] with 0 in place of what is not finite, and how many that were.

    counts: [..., tokens], where a value matters; NaN or infinity there is refused.
    """
    wrong = ~np.isfinite(values)
    if not wrong.any():
        return values, 0
    attended = wrong & counts[..., None]
    if attended.any():
        place = tuple(int(i) for i in np.argwhere(attended)[0])
        count = int(attended.sum())
        does = "a query that attends to something" if label == "q" else "a key that is attended"
        raise InvalidRequestError(
            f"{label} holds {how_many(count, 'value that is', 'values that are')} NaN or infinite, the first"
            f" {values[place]} at index {list(place)}, of {does}",
            "finite numbers wherever anything is attended",
            "correct the numbers, or say what may be attended: mask, lengths, causal",
        )
    return frozen(np.where(wrong, 0.0, values)), int(wrong.sum())


def _significant_bits(values: Float64Array) -> int:
    """Return how many bits the longest of some numbers has from its first to its last 1."""
    mantissas = np.frexp(values[values != 0])[0]
    whole = np.abs(np.ldexp(mantissas, _BITS)).astype(np.int64)
    lowest = np.bitwise_or.reduce(whole) if whole.size else np.int64(1) << _BITS
    return _BITS - int(lowest & -lowest).bit_length() + 1


def _number(name: str, value: Any) -> float:
    array = plain_array(name, value)
    exact = exact_numbers(name, array)
    if exact.size != 1:
        raise InvalidRequestError(f"{name} of shape {list(exact.shape)}", "one number", "correct it")
    return float(exact.item())


def _require_shape(name: str, array: NDArray[Any], shape: tuple[int, ...], what: str = "") -> None:
    try:
        np.broadcast_to(array, shape)
    except ValueError:
        fitting = f"{what}a shape that broadcasts to {list(shape)}" if shape else "one number"
        raise InvalidRequestError(f"{name} of shape {list(array.shape)}", fitting, f"reshape {name}") from None


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array that nobody can write to any more."""
    array.flags.writeable = False
    return array
