"""Attention with a memory of fixed size: take in tokens, read with queries, merge, save and load."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from verify.arguments import checked_flag, checked_integer, checked_lead, checked_scale, exact_float64
from verify.attention import logexp_state, taylor_state
from verify.attention.computed import AttentionOutput, quotient, scale_of
from verify.attention.hazards import Hazards
from verify.attention.logexp_state import LogExpSums
from verify.attention.state_files import StateFile, read_state, write_state
from verify.attention.sums import with_ones
from verify.attention.taylor_state import MEMORY_LIMIT, TaylorSums, check_memory
from verify.errors import InvalidRequestError, TooLargeError
from verify.numbers.arithmetic import Arithmetic, named_arithmetic
from verify.numbers.arrays import Float64Array
from verify.numbers.formats import Format, named_format


class AttentionState:
    """What both states have in common.

    lead: the leading dimensions of k and v, [..., G]; q may have [..., H] with H a multiple of G.  tokens: how many
    have been taken in, an exact integer.  settings: everything two states must share to be merged.

    One thread at a time may use a state, for reading too: its buffers are its own.  An update or merge that is
    interrupted leaves a state that refuses to go on.
    """

    mechanism: ClassVar[str]
    known_settings: ClassVar[tuple[str, ...]]
    settings: dict[str, Any]
    tokens: int
    _whole: bool
    _arithmetic: Arithmetic
    _sums: TaylorSums | LogExpSums
    _chunk: int

    @property
    def nbytes(self) -> int:
        """Bytes of the state itself, whatever the number of tokens; buffers for a chunk of tokens come on top."""
        return sum(array.nbytes for array in self._arrays().values())

    @property
    def hazards(self) -> Hazards:
        """Numbers of the state that are not finite, and additions that it has lost."""
        return self._sums.hazards

    def update(self, k: ArrayLike, v: ArrayLike) -> None:
        """Take in any number of tokens, k [..., n, d_k] and v [..., n, d_v], a chunk at a time.

        Raises InvalidRequestError for other shapes, or values that are not finite.
        """
        keys, values = self._by_head("k", k, "head_size"), self._by_head("v", v, "value_size")
        if keys.shape[1] != values.shape[1]:
            raise InvalidRequestError(
                f"{keys.shape[1]} keys and {values.shape[1]} values", "one value for every key", "check the tokens"
            )
        with self._changing():
            for first in range(0, keys.shape[1], self._chunk):
                rows = slice(first, first + self._chunk)
                taken = self._arithmetic.as_input(keys[:, rows]), self._arithmetic.as_input(values[:, rows])
                self._sums.add(taken[0], with_ones(taken[1], self._arithmetic))
            self.tokens += keys.shape[1]

    def read(self, q: ArrayLike) -> AttentionOutput:
        """Return the attention of queries [..., n, d_k] over all tokens taken in so far; the state stays as it is.

        Raises InvalidRequestError for other shapes, values that are not finite, or a state that has seen nothing.
        """
        lead: tuple[int, ...] = self.settings["lead"]
        queries = exact_float64("q", q)
        shape = (*lead, "n", self.settings["head_size"])
        heads = queries.shape[-3] if lead and queries.ndim > 2 else 1
        groups = lead[-1] if lead else 1
        fits = queries.ndim == len(lead) + 2 and queries.shape[-1] == shape[-1] and queries.shape[:-3] == lead[:-1]
        if not fits or heads % groups:
            raise InvalidRequestError(
                f"q of shape {list(queries.shape)} for a state of {self._shape_text(shape)}",
                "the state's leading dimensions, the last of them as often as there are queries to a key head",
                "check heads and head size",
            )
        self._require_whole()
        if not self.tokens:
            raise InvalidRequestError(
                "a state that has seen nothing", "at least one token before the first read", "update it first"
            )
        count = queries.shape[-2]
        by_state = queries.reshape((prod(lead), heads // groups, count, shape[-1]))
        totals = np.zeros((*by_state.shape[:-1], self.settings["value_size"] + 1), dtype=self._arithmetic.dtype)
        with np.errstate(all="ignore"):
            for first in range(0, count, self._chunk):
                rows = slice(first, first + self._chunk)
                scaled = self._scaled(self._arithmetic.as_input(by_state[:, :, rows]))
                self._sums.read(scaled, totals[:, :, rows])
        totals = totals.reshape((*queries.shape[:-1], totals.shape[-1]))
        everywhere = np.ones((*queries.shape[:-1], 1), dtype=np.bool_)
        parts = totals[..., :-1], totals[..., -1:]
        value, hazards = quotient(self._arithmetic, *parts, everywhere, self.hazards)
        return AttentionOutput(value, parts[1][..., 0], hazards)

    def merge(self, other: Self) -> None:
        """Take in all tokens that another state of the same settings has seen; the other stays as it is.

        The tokens' order does not matter, so that parts of a context can be taken in side by side and merged in any
        order, up to rounding.  Raises InvalidRequestError for a state of other settings.
        """
        if type(other) is not type(self):
            raise InvalidRequestError(
                f"{type(other).__name__} to merge into {type(self).__name__}",
                "two states of one kind",
                "check the states",
            )
        _require_settings("a state to merge", other.settings, self.settings)
        other._require_whole()
        with self._changing():
            self._sums.merge(other._sums)  # type: ignore[arg-type]  # of the same type, as was checked
            self.tokens += other.tokens

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the state to a .npz file that holds no pickled object, in one step.

        Raises InvalidRequestError for another ending, a file that exists (unless overwritten) or cannot be written.
        """
        self._require_whole()
        lost = self._sums.sums.lost
        write_state(StateFile(self.mechanism, self.settings, self.tokens, lost, self._arrays()), path, overwrite)

    @classmethod
    def load(cls, path: str | Path, *, memory_limit: int = MEMORY_LIMIT, **expected: Any) -> Self:
        """Return the state that `save` wrote, bit for bit.

        expected: settings that it must have, such as head_size=64 or arithmetic="float32".  Raises InvalidRequestError
        for a file that is not whole, holds something else or another version, or has other settings; TooLargeError as
        the constructor does.
        """
        wrong = sorted(set(expected) - set(cls.known_settings))
        if wrong:
            raise InvalidRequestError(
                f"expected {wrong[0]!r} of a state", "one of " + ", ".join(cls.known_settings), "choose one of these"
            )
        file = read_state(path, cls.mechanism, cls.known_settings)
        make: Callable[..., Self] = cls
        _require_settings(str(path), {key: file.settings[key] for key in expected}, expected)
        try:
            state = make(**file.settings, memory_limit=memory_limit)
        except TooLargeError:
            raise
        except InvalidRequestError as error:
            raise InvalidRequestError(
                f"{path} with settings of no state ({error})", "a saved state", "save it again"
            ) from error
        held = state._arrays()
        layouts = [{name: (a.shape, a.dtype) for name, a in arrays.items()} for arrays in (file.arrays, held)]
        if layouts[0] != layouts[1]:
            raise InvalidRequestError(
                f"{path} with arrays {_layout_text(file.arrays)}", f"{_layout_text(held)}", "save the state again"
            )
        for name, array in held.items():
            array[...] = file.arrays[name]
        state.tokens, state._sums.sums.lost = file.tokens, file.lost
        return state

    def _arrays(self) -> dict[str, NDArray[Any]]:
        names = ("sums", "carried")
        return dict(zip(names, self._sums.sums.arrays, strict=False))

    def _scaled(self, q: NDArray[Any]) -> NDArray[Any]:
        return q

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Mark the state as half changed until the change is complete."""
        self._require_whole()
        self._whole = False
        with np.errstate(all="ignore"):
            yield
        self._whole = True

    def _require_whole(self) -> None:
        if not self._whole:
            raise InvalidRequestError(
                "a state whose update or merge was interrupted", "one that is whole", "load or build it anew"
            )

    def _by_head(self, label: str, values: ArrayLike, size: str) -> Float64Array:
        array = exact_float64(label, values)
        lead: tuple[int, ...] = self.settings["lead"]
        shape = (*lead, "n", self.settings[size])
        if array.ndim != len(shape) or array.shape[:-2] != lead or array.shape[-1] != shape[-1]:
            raise InvalidRequestError(
                f"{label} of shape {list(array.shape)}", self._shape_text(shape), "check heads and sizes"
            )
        return array.reshape((prod(lead), *array.shape[-2:]))

    @staticmethod
    def _shape_text(shape: tuple[Any, ...]) -> str:
        return "[" + ", ".join(map(str, shape)) + "]"


class TaylorState(AttentionState):
    """The state of Taylor attention: S = sum_t Phi(k_t) v_t^T and z = sum_t Phi(k_t), SA (A2), up to an order.

    (d_v + 1) C(d_k + order, order) numbers, SA (13), for each of the leading dimensions, whatever the context.

    scale: of the logits, None for 1/sqrt(d_k); it is applied to queries.  arithmetic: see `verify.numbers.arithmetic`.
    storage: the format that sums are kept in from chunk to chunk, None for the arithmetic's.  compensated: keep beside
    every sum what rounding took from it.  one_by_one: add each token by itself, as one that generates does, instead of
    a chunk in one step.  side, degrees: as in `verify.attention.taylor.packed`.

    Raises InvalidRequestError for sizes, names or orders that do not exist, TooLargeError before allocating if state
    and buffers would need more than memory_limit bytes.
    """

    mechanism = "taylor"
    known_settings = (
        *("head_size", "value_size", "order", "lead", "scale", "arithmetic", "storage", "compensated", "one_by_one"),
        *("side", "degrees"),
    )

    def __init__(
        self,
        head_size: int,
        value_size: int,
        order: int,
        *,
        lead: tuple[int, ...] = (),
        scale: float | None = None,
        arithmetic: str = "float64",
        storage: str | None = None,
        compensated: bool = False,
        one_by_one: bool = False,
        side: str = "query",
        degrees: str = "together",
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        head_size, value_size = (
            checked_integer("head size", head_size, 1),
            checked_integer("value size", value_size, 1),
        )
        order, lead, scale = checked_integer("order", order, 0), checked_lead(lead), checked_scale(scale)
        compensated, one_by_one = checked_flag("compensated", compensated), checked_flag("one_by_one", one_by_one)
        memory_limit = checked_integer("memory limit", memory_limit, 0)
        values = (
            head_size,
            value_size,
            order,
            lead,
            scale,
            arithmetic,
            storage,
            compensated,
            one_by_one,
            side,
            degrees,
        )
        self.settings = dict(zip(self.known_settings, values, strict=True))
        self.tokens = 0
        self._whole = True
        self._arithmetic = named_arithmetic(arithmetic)
        self._chunk = taylor_state.CHUNK
        self._scale = scale_of(scale, head_size, self._arithmetic)
        self._sums: TaylorSums = TaylorSums(
            self._arithmetic,
            prod(lead),
            head_size,
            value_size,
            order,
            side=side,
            degrees=degrees,
            storage=_storage(storage),
            compensated=compensated,
            one_by_one=one_by_one,
            memory_limit=memory_limit,
        )

    def _scaled(self, q: NDArray[Any]) -> NDArray[Any]:
        return self._arithmetic.as_factor(q * self._scale)


class LogExpState(AttentionState):
    """The state of log-exp attention, LE (6): exp(H_S) and exp(H_Z) with each key feature's maximum divided out.

    d_k (d_v + 1) numbers for each of the leading dimensions, whatever the context, and d_k maxima.  v has any sign.
    Settings and errors as in `TaylorState`; compensation covers additions, not the factor by which sums are divided
    when a maximum grows, which has the accuracy of the arithmetic.
    """

    mechanism = "logexp"
    known_settings = ("head_size", "value_size", "lead", "arithmetic", "storage", "compensated", "one_by_one")

    def __init__(
        self,
        head_size: int,
        value_size: int,
        *,
        lead: tuple[int, ...] = (),
        arithmetic: str = "float64",
        storage: str | None = None,
        compensated: bool = False,
        one_by_one: bool = False,
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        head_size, value_size = (
            checked_integer("head size", head_size, 1),
            checked_integer("value size", value_size, 1),
        )
        lead, memory_limit = checked_lead(lead), checked_integer("memory limit", memory_limit, 0)
        compensated, one_by_one = checked_flag("compensated", compensated), checked_flag("one_by_one", one_by_one)
        values = (head_size, value_size, lead, arithmetic, storage, compensated, one_by_one)
        self.settings = dict(zip(self.known_settings, values, strict=True))
        self.tokens = 0
        self._whole = True
        self._arithmetic = named_arithmetic(arithmetic)
        # two arrays for each of values and maxima at most, and buffers for a chunk of tokens
        numbers = prod(lead) * (2 * head_size * (value_size + 3) + logexp_state.CHUNK * (head_size + value_size) * 4)
        check_memory(f"a state of head size {head_size}", 8 * numbers, memory_limit, "take fewer heads at a time")
        self._chunk = logexp_state.CHUNK
        self._sums: LogExpSums = LogExpSums(
            self._arithmetic,
            prod(lead),
            head_size,
            value_size,
            storage=_storage(storage),
            compensated=compensated,
            one_by_one=one_by_one,
        )

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {**super()._arrays(), "top": self._sums.top}


def _require_settings(what: str, given: dict[str, Any], expected: dict[str, Any]) -> None:
    for name, value in expected.items():
        wanted = tuple(value) if isinstance(value, list) else value
        # compared as text too: arrays and other things that have no single answer are not equal
        if str(given[name]) != str(wanted) or type(given[name] == wanted) is not bool or given[name] != wanted:
            raise InvalidRequestError(
                f"{what} with {name} {given[name]!r}", f"{name} {wanted!r}", "take states of the same settings"
            )


def _storage(name: str | None) -> Format | None:
    return None if name is None else named_format(name)


def _layout_text(arrays: dict[str, NDArray[Any]]) -> str:
    return ", ".join(f"{name} {list(array.shape)} of {array.dtype}" for name, array in arrays.items())
