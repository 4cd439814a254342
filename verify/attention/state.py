"""Attention with a memory of fixed size: take in tokens, read with queries, merge, save and load."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from verify.arguments import checked_flag, checked_integer, checked_lead, checked_scale, exact_float64, exact_tokens
from verify.attention.computed import AttentionOutput, quotient
from verify.attention.contract import Member
from verify.attention.hazards import Hazards
from verify.attention.memory import MEMORY_LIMIT
from verify.attention.state_files import StateFile, read_state, write_state
from verify.attention.sums import Sums, with_ones
from verify.errors import InvalidRequestError, TooLargeError
from verify.integers import how_many
from verify.numbers.arithmetic import Arithmetic, named_arithmetic
from verify.numbers.arrays import Float64Array
from verify.numbers.formats import Format, named_format
from verify.problem.checks import check_finite, checked_booleans

# Settings that say how large a state is.
_SIZES = ("head_size", "value_size", "lead")


class RunningSums(Protocol):
    """The sums that a state keeps, for several heads at once."""

    sums: Sums

    @property
    def hazards(self) -> Hazards:
        """What has gone wrong in them."""

    def add(self, k: NDArray[Any], values: NDArray[Any]) -> None:
        """Add tokens: k [H, n, d_k] and values [H, n, d_v + 1], the last of which is 1; n up to a chunk."""

    def read(self, q: NDArray[Any], totals: NDArray[Any]) -> None:
        """Add numerators and, in the last column, sums of weights, [H, members, n, d_v + 1], for q [.., n, d_k]."""

    def merge(self, other: Any) -> None:
        """Add the sums of other tokens."""


class AttentionState:
    """What all states have in common.

    lead: the leading dimensions of k and v, [..., G]; q may have [..., H] with H a multiple of G.  tokens: how many
    have been taken in, an exact integer, padding among them.  settings: everything two states must share to be merged.

    One thread at a time may use a state, for reading too: its buffers are its own.  An update or merge that is
    interrupted leaves a state that refuses to go on.
    """

    mechanism: str
    known_settings: ClassVar[tuple[str, ...]]
    settings: dict[str, Any]
    _sums: RunningSums
    # a component of a key that stands in for padding: no feature of it is large
    _padding = 0.0

    def __init__(self, settings: dict[str, Any], chunk: int) -> None:
        """Take in settings that have been checked, and how many tokens are taken at once."""
        self.settings = settings
        self.tokens = 0
        self._seen = np.zeros(prod(settings["lead"]), dtype=np.bool_)  # the heads that have seen more than padding
        self._whole = True
        self._arithmetic: Arithmetic = named_arithmetic(settings["arithmetic"])
        self._chunk = chunk

    def __repr__(self) -> str:
        own = {name: value for name, value in self.settings.items() if name not in _SIZES and value}
        settings = ", ".join(f"{name} {value}" for name, value in own.items())
        kind, (keys, values, lead) = type(self).__name__, (self.settings[name] for name in _SIZES)
        heads = f"heads {list(lead)}" if lead else "one head"
        return (
            f"{kind}({heads}, keys of {keys}, values of {values}; {settings};\n"
            f"{'':{len(kind)}} {how_many(self.tokens, 'token')} taken in, {how_many(self.nbytes, 'byte')})"
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the state itself, whatever the number of tokens; buffers for a chunk of tokens come on top."""
        return sum(array.nbytes for array in self._arrays().values())

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of what is kept from token to token: "sums" [heads, features, d_v + 1], and other arrays."""
        return {name: array.shape for name, array in self._arrays().items()}

    @property
    def hazards(self) -> Hazards:
        """Numbers of the state that are not finite, and additions that it has lost."""
        return self._sums.hazards

    def update(self, k: ArrayLike, v: ArrayLike, mask: ArrayLike | None = None) -> None:
        """Take in any number of tokens, k [..., n, d_k] and v [..., n, d_v], a chunk at a time.

        mask: booleans that broadcast to [..., n], False where a token is padding and has no weight; it may be NaN
        there.  Raises InvalidRequestError for other shapes, or values that are not finite elsewhere.
        """
        keys, values = self._by_head("k", k, "head_size"), self._by_head("v", v, "value_size")
        if keys.shape[1] != values.shape[1]:
            raise InvalidRequestError(
                f"{how_many(keys.shape[1], 'key')} and {how_many(values.shape[1], 'value')}",
                "one value for every key",
                "check the tokens",
            )
        shape = (*self.settings["lead"], keys.shape[1])
        given = checked_booleans("mask", mask, shape)
        counts = np.broadcast_to(True if given is None else given, shape).reshape(keys.shape[:2])
        keys, values = (check_finite(name, x, counts)[0] for name, x in (("k", keys), ("v", values)))
        if given is not None:
            keys = np.where(counts[..., None], keys, self._padding)
        with self._changing():
            for first in range(0, keys.shape[1], self._chunk):
                rows = slice(first, first + self._chunk)
                taken = self._arithmetic.as_input(keys[:, rows]), self._arithmetic.as_input(values[:, rows])
                weighed = with_ones(taken[1], self._arithmetic)
                if given is not None:
                    weighed = np.where(counts[:, rows, None], weighed, weighed.dtype.type(0))
                self._sums.add(taken[0], weighed)
            self.tokens += keys.shape[1]
            self._seen |= counts.any(axis=1)

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
        seeing = np.broadcast_to(self._seen.reshape((*lead, 1, 1, 1)), (*lead, heads // groups, count, 1))
        parts = totals[..., :-1], totals[..., -1:]
        seeing = seeing.reshape((*queries.shape[:-1], 1))
        value, hazards = quotient(self._arithmetic, *parts, seeing, self.hazards)
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
            self._sums.merge(other._sums)
            self.tokens += other.tokens
            self._seen |= other._seen

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the state to a .npz file that holds no pickled object, in one step.

        Raises InvalidRequestError for another ending, a file that exists (unless overwritten) or cannot be written.
        """
        self._require_whole()
        lost = self._sums.sums.lost
        seen = tuple(self._seen.tolist())
        write_state(StateFile(self.mechanism, self.settings, self.tokens, seen, lost, self._arrays()), path, overwrite)

    @classmethod
    def load(
        cls, path: str | Path, *, memory_limit: int = MEMORY_LIMIT, member: Member | None = None, **expected: Any
    ) -> Self:
        """Return the state that `save` wrote, bit for bit.

        member: what it is the state of, for a kind of state that serves many.  expected: settings that it must have,
        such as head_size=64 or arithmetic="float32".  Raises InvalidRequestError for a file that is not whole, holds
        something else or another version, or has other settings; TooLargeError as the constructor does.
        """
        wrong = sorted(set(expected) - set(cls.known_settings))
        if wrong:
            raise InvalidRequestError(
                f"expected {wrong[0]!r} of a state", "one of " + ", ".join(cls.known_settings), "choose one of these"
            )
        several = "member" in cls.known_settings
        if several != (member is not None):
            given = "no member" if member is None else f"member {member.name}"
            needed = f"one for a {cls.__name__}" if several else f"none: {cls.__name__} has its own mechanism"
            raise InvalidRequestError(given, needed, "give member=, or leave it out")
        if member is not None:
            expected["member"] = member.name
        file = read_state(path, cls.mechanism if member is None else member.of, cls.known_settings)
        make: Callable[..., Self] = cls
        _require_settings(str(path), {key: file.settings[key] for key in expected}, expected)
        try:
            own = {} if member is None else {"member": member}
            state = make(**(file.settings | own), memory_limit=memory_limit)
        except TooLargeError:
            raise
        except InvalidRequestError as error:
            raise InvalidRequestError(
                f"{path} with settings of no state ({error})", "a saved state", "save it again"
            ) from error
        held = state._arrays()
        layouts = [{name: (a.shape, a.dtype) for name, a in arrays.items()} for arrays in (file.arrays, held)]
        if len(file.seen) != len(state._seen):
            raise InvalidRequestError(
                f"{path} of {len(file.seen)} heads", f"{len(state._seen)}, as its settings say", "save the state again"
            )
        if layouts[0] != layouts[1]:
            raise InvalidRequestError(
                f"{path} with arrays {_layout_text(file.arrays)}", f"{_layout_text(held)}", "save the state again"
            )
        for name, array in held.items():
            array[...] = file.arrays[name]
        state.tokens, state._sums.sums.lost = file.tokens, file.lost
        state._seen[:] = file.seen
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
        array = exact_tokens(label, values)
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


def checked_settings(**given: Any) -> dict[str, Any]:
    """Return settings of a state, checked by their names; InvalidRequestError for what they cannot be."""
    checked = dict(given)
    for name, least in (("head_size", 1), ("value_size", 1), ("order", 0)):
        if name in given:
            checked[name] = checked_integer(name.replace("_", " "), given[name], least)
    checked["lead"] = checked_lead(given["lead"])
    if "scale" in given:
        checked["scale"] = checked_scale(given["scale"])
    for name in ("compensated", "one_by_one"):
        checked[name] = checked_flag(name, given[name])
    checked["arithmetic"] = named_arithmetic(given["arithmetic"]).name
    checked["storage"] = None if given["storage"] is None else named_format(given["storage"]).name
    return checked


def _require_settings(what: str, given: dict[str, Any], expected: dict[str, Any]) -> None:
    for name, value in expected.items():
        wanted = tuple(value) if isinstance(value, list) else value
        # compared as text too: arrays and other things that have no single answer are not equal
        if str(given[name]) != str(wanted) or type(given[name] == wanted) is not bool or given[name] != wanted:
            raise InvalidRequestError(
                f"{what} with {name} {given[name]!r}", f"{name} {wanted!r}", "take states of the same settings"
            )


def storage_format(name: str | Format | None) -> Format | None:
    """Return the format of that name; None, the arithmetic's own, for none."""
    return None if name is None else named_format(name)


def _layout_text(arrays: dict[str, NDArray[Any]]) -> str:
    return ", ".join(f"{name} {list(array.shape)} of {array.dtype}" for name, array in arrays.items())
