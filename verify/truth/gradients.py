"""Gradients of attention outputs, enclosed: what a change of q, k, v, bias or sinks does to sum(dout * output).

With y_i = sum_t D_it w_it v_t / ((1 - p) Z_i), Z_i = sum_t w_it and the sink's weight, and delta_i = dout_i . y_i:

    dL/dv_t = sum_i D_it w_it dout_i / ((1 - p) Z_i),    dL/dw_it = (D_it dout_i . v_t / (1 - p) - delta_i) / Z_i,

and the rest follows from the derivatives of the weights (T. Dao et al., arXiv 2205.14135, appendix B, for softmax).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import flint
import numpy as np
from flint import arb, arb_mat
from numpy.typing import ArrayLike, NDArray

from verify.arguments import checked_integer, exact_float64
from verify.attention.contract import Attended, Member, Pullback
from verify.attention.tiles import ball_matrix, exact_matrix, only_attended, tile_keys
from verify.errors import CertificationError, InvalidRequestError, TooLargeError, unknown
from verify.mechanisms.registry import CONVENTIONAL, named_member
from verify.numbers.arrays import BoolArray, Float64Array
from verify.numbers.balls import Balls
from verify.numbers.precision import MAX_BITS, bits_for, digits_of, flint_precision
from verify.parallel.blocks import Block, blocks_of
from verify.problem import Problem, require_problem
from verify.truth.enclosure import GUARD_BITS, NOTHING_BITS
from verify.truth.reference import MAX_DIGITS

# Pairs of queries and keys, over all heads: they take some tens of microseconds each, and more with more digits.
PAIRS = 1 << 24


@dataclass(frozen=True, eq=False)
class Gradients:
    """Gradients with proven digits, each in the shape of what it belongs to.

    Of q, k and v they are those of what was given, before descales.  balls: "dq", "dk", "dv" and, where the problem has
    them, "dbias" and "dsinks".  digits: certified, the least over all elements.  absolute: True where a value is
    essentially zero: it lies below 10**-(2 digits asked for) of what its terms add up to in size, or below 2**-32768,
    and is kept as a ball around 0.
    """

    problem: Problem
    member: Member
    dout: Float64Array
    balls: dict[str, Balls]
    absolute: dict[str, BoolArray]
    digits: int
    asked: int

    def value(self, name: str) -> Float64Array:
        """Return the float64 numbers nearest to the centres; InvalidRequestError for a gradient that is not there."""
        return self._of(name).value

    def radius(self, name: str) -> Float64Array:
        """Return upper bounds: |exact - centre| <= radius."""
        return self._of(name).radius

    def _of(self, name: str) -> Balls:
        if name not in self.balls:
            raise unknown(f"gradient {name!r}", name, self.balls)
        return self.balls[name]


def gradients(problem: Problem, dout: ArrayLike, digits: int = 30, member: str | Member = CONVENTIONAL) -> Gradients:
    """Return the gradients of sum(dout * output) with respect to q, k, v, bias and sinks, to so many digits.

    dout: [..., H, n_q, d_v], finite.  Every element has a relative radius of at most 10**-digits, unless it is
    essentially zero.  Raises InvalidRequestError for a dout of another shape, digits out of bounds, a mechanism whose
    derivative is unknown, or rows without a value; TooLargeError for more than 2^24 pairs; CertificationError if the
    precision cap does not suffice.

        gradients(problem, dout, 30, "taylor:order=3").value("dq")
    """
    require_problem(problem)
    chosen = named_member(member)
    refusal = chosen.mechanism.refusal(problem)
    if refusal is not None:
        raise refusal
    digits = checked_integer("digits", digits, 1, MAX_DIGITS)
    given = exact_float64("dout", dout)
    if given.shape != problem.output_shape:
        raise InvalidRequestError(
            f"dout of shape {list(given.shape)}", f"{list(problem.output_shape)}, as the output", "check the axes"
        )
    pairs = problem.heads * problem.queries * problem.keys
    if pairs > PAIRS:
        raise TooLargeError(
            f"gradients over {pairs:,} pairs", f"at most {PAIRS:,}", "take fewer tokens, heads or queries (--rows)"
        )
    wanted = bits_for(digits) + 1
    working = min(MAX_BITS, wanted + GUARD_BITS)
    while True:
        with flint_precision(working):
            found = _Sums(problem, given, chosen)
            short, absolute, fewest = found.settled(wanted)
            if short is None:
                balls = {name: Balls.of(array) for name, array in found.arrays.items()}
                return Gradients(problem, chosen, given, balls, absolute, digits_of(fewest - 1), digits)
        if working >= MAX_BITS:
            raise CertificationError(
                f"{chosen.name} on {problem.name}: {short} has not {digits} digits at the cap of {MAX_BITS} bits"
            )
        working = min(MAX_BITS, 2 * working)


class _Sums:
    """Gradients as they add up, block by block, at the precision there is.

    sizes: of their terms, in float64 and in units of 2**units, as products of inputs may leave float64.
    """

    def __init__(self, problem: Problem, dout: Float64Array, member: Member) -> None:
        shapes = {"dq": problem.q.shape, "dk": problem.k.shape, "dv": problem.v.shape}
        shapes |= {} if problem.bias is None else {"dbias": problem.bias.shape}
        shapes |= {} if problem.sinks is None else {"dsinks": problem.sinks.shape}
        self.problem, self.by_logit = problem, True
        self.arrays = {name: np.full(shape, arb(0), dtype=object) for name, shape in shapes.items()}
        self.sizes = {name: np.zeros(shape) for name, shape in shapes.items()}
        self.of = _Units(*(_exponent(x) for x in (dout, problem.q, problem.k, problem.v, problem.float_scale)))
        pairs = (*problem.q.shape[:-1], problem.keys)
        self.of_bias = None if problem.bias is None else _numbered(problem.bias, pairs)
        self.of_sinks = None if problem.sinks is None else _numbered(problem.sinks, pairs[:-2])
        for block in blocks_of(problem):
            pullback = member.mechanism.pullback(block, member)
            if pullback is None:
                given = f"gradients of {member.name}, whose derivative is unknown"
                raise InvalidRequestError(given, "a mechanism with pullback()", "declare it")
            if len(block.rows) and (len(block.k) or block.sink is not None):
                self._add(_Block(block, pullback, dout[block.index][block.rows], self.of))
        self._multiply_by_descales()

    def _multiply_by_descales(self) -> None:
        """Make gradients of q, k and v those of what was given: before it was multiplied by its factors."""
        for label in "qkv":
            factors = getattr(self.problem, f"{label}_descale")
            if factors is not None:
                spread = np.broadcast_to(factors[..., None, None], self.sizes[f"d{label}"].shape)
                array = self.arrays[f"d{label}"]
                for place in np.ndindex(array.shape):
                    array[place] = array[place] * arb(float(spread[place]))
                self.sizes[f"d{label}"] *= np.abs(spread)

    def _add(self, part: _Block) -> None:
        block = part.block
        rows, shared = (*block.index, block.rows), self.problem.shared_head(block.index)
        if self.of_sinks is not None:
            self._scatter("dsinks", [int(self.of_sinks[block.index])], *part.sink())
        for keys in part.tiles():
            found = part.pulled(keys)
            self.by_logit = found["by logit"]
            self._put("dq", rows, found["dq"], found["size of dq"])
            for name in ("dk", "dv"):
                self._put(name, (*shared, block.keys[keys]), found[name], found[f"size of {name}"])
            if self.of_bias is not None:
                places = self.of_bias[block.index][np.ix_(block.rows, block.keys[keys])].ravel().tolist()
                self._scatter("dbias", places, found["logits"], found["size of logits"].tolist())

    def _scatter(self, name: str, places: list[int], found: list[arb], sizes: list[float]) -> None:
        """Add numbers to those that stand at places of the flat array, some of them more than once."""
        flat, by_size = self.arrays[name].reshape(-1), self.sizes[name].reshape(-1)
        for place, change, size in zip(places, found, sizes, strict=True):
            flat[place] = flat[place] + change
            by_size[place] += size

    def _put(self, name: str, place: Any, found: Any, sizes: Any) -> None:
        self.arrays[name][place] = self.arrays[name][place] + found
        self.sizes[name][place] += sizes

    def _unit(self, name: str) -> int:
        """Return the exponent of the unit that sizes of a gradient are in."""
        of, by_value = self.of, self.of.dout + self.of.v
        if name == "dv":
            return of.dout
        if name in ("dbias", "dsinks") or not self.by_logit:
            return by_value
        return by_value + of.scale + (of.k if name == "dq" else of.q)

    def settled(self, wanted: int) -> tuple[str | None, dict[str, BoolArray], int]:
        """Return the first element without enough bits, what is essentially zero, and the fewest bits of the rest."""
        absolute, fewest, short = {}, bits_for(MAX_DIGITS) + 1, None
        nothing = arb(2) ** -NOTHING_BITS
        for name, array in self.arrays.items():
            absolute[name], unit = np.zeros(array.shape, dtype=np.bool_), self._unit(name)
            for place in np.ndindex(array.shape):
                ball: Any = array[place]
                size = float(self.sizes[name][place])
                bits = fewest if ball.is_exact() else ball.rel_accuracy_bits()
                if ball.is_finite() and not ball.is_exact():
                    least = arb(size) * arb(2) ** (unit - 2 * wanted) if 0 < size < np.inf else nothing
                    if abs(ball) < nothing or (bits < wanted and abs(ball) < least):
                        array[place] = arb(0, abs(ball).upper().max(nothing if abs(ball) < nothing else arb(0)))
                        absolute[name][place] = True
                        continue
                if not ball.is_finite() or bits < wanted:
                    short = short or f"{name} {list(place)}"
                fewest = min(fewest, int(bits))
        return short, absolute, fewest


class _Block:
    """Some queries of a head: sums of weights and outputs first, then what each tile of keys adds to gradients."""

    def __init__(self, block: Block, pullback: Pullback, dout: Float64Array, units: _Units) -> None:
        """Add up the weights, and the weights times values."""
        self.block, self.pullback, self.dout, self.units = block, pullback, dout, units
        width = block.v.shape[1]
        self.share = 1 - arb(block.dropout)
        self.sunk = None if block.sink is None else self.pullback.sink()
        self.z = [arb(0)] * len(block.rows) if self.sunk is None else list(self.sunk[0])
        numerator = arb_mat(len(block.rows), width)
        for keys in self.tiles():
            weights = self.pullback.weights(keys, self._attended(keys))
            count = len(block.k[keys])
            for i in range(len(block.rows)):
                self.z[i] = sum(weights[i * count : (i + 1) * count], self.z[i])
            numerator += self._table(self._kept(keys, weights), keys) * exact_matrix(block.v[keys])
        seeing: list[bool] = (np.asarray(block.attended.any(axis=1)) | (block.sink is not None)).tolist()
        for i, (z, sees) in enumerate(zip(self.z, seeing, strict=True)):
            if z.is_zero() and sees:
                raise InvalidRequestError(
                    f"{block.name}, whose weights of query {[*block.index, int(block.rows[i])]} add up to zero",
                    "rows with a value",
                    "leave the row out",
                )
        # rows that see nothing have no weights: whatever they are divided by
        self.z = [z if sees else arb(1) for z, sees in zip(self.z, seeing, strict=True)]
        rows = zip(self.dout.tolist(), numerator.tolist(), self.z, strict=True)
        self.delta = []
        for own, row, z in rows:
            products = (arb(d) * y for d, y in zip(own, row, strict=True))
            self.delta.append(sum(products, arb(0)) / (z * self.share))
        v = np.ldexp(np.abs(block.v).max(axis=0, initial=0.0), -units.v)
        self.size = np.ldexp(np.abs(self.dout), -units.dout) @ v / (1.0 - block.dropout)

    def tiles(self) -> Iterator[slice]:
        """Yield the tiles of keys."""
        step = tile_keys(self.block, flint.ctx.prec)
        yield from (slice(first, first + step) for first in range(0, len(self.block.k), step))

    def _attended(self, keys: slice) -> Attended:
        seen = self.block.attended[:, keys]
        return None if seen.all() else seen.ravel().tolist()

    def _kept(self, keys: slice, balls: list[arb]) -> list[arb]:
        return balls if self.block.kept is None else only_attended(self.block.kept[:, keys].ravel().tolist(), balls)

    def _table(self, balls: list[arb], keys: slice) -> arb_mat:
        return ball_matrix(balls, (len(self.block.rows), len(self.block.k[keys])))

    def sink(self) -> tuple[list[arb], list[float]]:
        """Return what the logit of the sink changes, and the size of its terms: it has no value."""
        assert self.sunk is not None, "there is a sink"
        terms = [-delta * slope / z for delta, slope, z in zip(self.delta, self.sunk[1], self.z, strict=True)]
        shares = [abs(float(slope / z)) for slope, z in zip(self.sunk[1], self.z, strict=True)]
        return [sum(terms, arb(0))], [float(np.dot(shares, self.size))]

    def pulled(self, keys: slice) -> dict[str, Any]:
        """Return what a tile adds to the gradients of q [r, d_k], k and v [n, size] and of its logits, with sizes."""
        block, attended = self.block, self._attended(keys)
        count, weights = len(block.k[keys]), self.pullback.weights(keys, attended)
        against = self._kept(keys, (exact_matrix(self.dout) * exact_matrix(block.v[keys]).transpose()).entries())
        changes = []
        for i, (z, delta) in enumerate(zip(self.z, self.delta, strict=True)):
            own = against[i * count : (i + 1) * count]
            changes += [(g / self.share - delta) / z for g in own]
        changes = only_attended(attended, changes)
        found = self.pullback.pulled(keys, attended, changes)
        shares = [w / (z * self.share) for w, z in zip(weights, (z for z in self.z for _ in range(count)), strict=True)]
        of_v = self._table(self._kept(keys, shares), keys).transpose() * exact_matrix(self.dout)
        # in size: a weight is about its own derivative, and a change of it what dout and v make of it
        part = np.abs(np.array([float(x) for x in shares])).reshape((len(block.rows), count))
        part = np.where(np.isfinite(part), part, 0.0)
        sizes = part * self.size[:, None]
        units, dout = self.units, np.ldexp(np.abs(self.dout), -self.units.dout)
        scale = abs(block.scale) if block.scale is not None else block.q.shape[1] ** -0.5
        by_logit = found.logits is not None
        k = np.ldexp(np.abs(block.k[keys]), -units.k) if by_logit else np.ones(block.k[keys].shape)
        q = np.ldexp(np.abs(block.q), -units.q) if by_logit else np.ones(block.q.shape)
        scale = float(np.ldexp(scale, -units.scale)) if by_logit else 1.0
        return {
            "dq": _array(found.q),
            "dk": _array(found.k),
            "dv": _array(of_v),
            "logits": found.logits or [],
            "by logit": by_logit,
            "size of dq": scale * (sizes @ k),
            "size of dk": scale * (sizes.T @ q),
            "size of dv": part.T @ dout,
            "size of logits": sizes.ravel() if by_logit else np.zeros(0),
        }


@dataclass(frozen=True)
class _Units:
    """Exponents of the largest dout, q, k, v and of the scale."""

    dout: int
    q: int
    k: int
    v: int
    scale: int


def _exponent(numbers: Float64Array | float) -> int:
    return int(np.frexp(np.abs(numbers).max(initial=0.0))[1])


def _array(matrix: arb_mat) -> NDArray[Any]:
    found = np.empty((matrix.nrows(), matrix.ncols()), dtype=object)
    found[:] = matrix.tolist()
    return found


def _numbered(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return where in an array the number stands that belongs to each place of a shape that it broadcasts to."""
    return np.broadcast_to(np.arange(array.size).reshape(array.shape), shape)
