"""Tiles of keys in ball arithmetic, and the small steps that weights in balls are made of."""

from __future__ import annotations

from typing import Any

from flint import arb, arb_mat

from verify.attention.contract import Attended
from verify.numbers.arrays import Float64Array
from verify.parallel.blocks import Block

# What the balls of one tile may take, and how many stand for each pair at once: logits, powers, products, a matrix.
TILE_BYTES = 1 << 27


BALLS_PER_PAIR = 4


# Products of fewer keys than these leave flint's fast algorithms.
LEAST_KEYS = 64


def bytes_of_ball(bits: int) -> int:
    """Return about what a ball of so many bits takes as an object in a list and in a matrix."""
    return 120 + bits // 8


def tile_keys(block: Block, bits: int) -> int:
    """Return how many keys are taken at once, for each of which there are the balls of its pairs, key and value."""
    balls = BALLS_PER_PAIR * (len(block.rows) + int(block.k.shape[1]) + int(block.v.shape[1]))
    return max(LEAST_KEYS, TILE_BYTES // (balls * bytes_of_ball(bits)))


def scale_of_block(block: Block) -> arb:
    """Return the scale of the logits at the current precision."""
    return arb(block.q.shape[1]).rsqrt() if block.scale is None else arb(block.scale)


def only_attended(attended: Attended, balls: list[arb]) -> list[arb]:
    """Return the balls, zero for the pairs that are not attended."""
    if attended is None:
        return balls
    zero = arb(0)
    return [ball if seen else zero for ball, seen in zip(balls, attended, strict=True)]


def exact_matrix(array: Float64Array) -> arb_mat:
    """Return float64 numbers as a matrix of points."""
    return ball_matrix(array.ravel().tolist(), array.shape)


def ball_matrix(entries: list[Any], shape: tuple[int, ...]) -> arb_mat:
    """Return balls, row after row, as a matrix."""
    rows, columns = shape
    return arb_mat(rows, columns, entries)


def as_ball(x: Any) -> arb:
    """Return what a formula gives as a ball; TypeError for what is no number of the field: flint takes None for 0."""
    if isinstance(x, arb):
        return x
    if type(x) is int:
        return arb(x)
    raise TypeError(f"a formula gives {type(x).__name__} {x!r}; expected a number of its field, or a whole number")
