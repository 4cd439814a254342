"""Sums over keys of weights and of weights times values, in ball arithmetic at the current precision.

Keys are taken in tiles, so that memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import flint
import numpy as np
from flint import arb, arb_mat

from verify.attention.contract import Member, Terms, TileWeights
from verify.attention.tiles import ball_matrix, exact_matrix, only_attended, tile_keys
from verify.errors import MechanismError
from verify.numbers.arrays import Float64Array
from verify.parallel.blocks import Block


@dataclass(frozen=True)
class Totals:
    """What the weights of a block's queries add up to.

    sums: W [V | 1], numerators in the first d_v columns, sums of weights in the last, up to a factor of each row.
    factor: what they are to be multiplied with, as `TileWeights.factor` says.
    """

    sums: arb_mat
    factor: tuple[int, list[arb]] | None


def weighted_sums(block: Block, members: Sequence[Member], *, magnitudes: bool = False) -> dict[Member, Totals]:
    """Return what weights add up to for members of one mechanism.

    Members that share work share a factor.  With magnitudes, every term of the sums is replaced by its absolute value.
    Raises MechanismError for a mechanism that leaves out a member.
    """
    totals: dict[Member, Totals] = {}
    for weights in members[0].mechanism.balls(block, members, magnitudes=magnitudes):
        for member, total in _summed(block, weights, magnitudes).items():
            totals[member] = Totals(total, weights.factor())
    for member in members:
        if member not in totals and (block.attended.any() or block.sink is not None):
            raise MechanismError(
                f"no weights of {member.name} in balls", "those of every member asked for", f"mend {member.of}"
            )
    nothing = Totals(arb_mat(len(block.rows), block.v.shape[1] + 1), None)
    return {member: totals.get(member, nothing) for member in members}


def _summed(block: Block, weights: TileWeights, magnitudes: bool) -> dict[Member, arb_mat]:
    values = np.pad(np.abs(block.v) if magnitudes else block.v, ((0, 0), (0, 1)), constant_values=1.0)
    totals: dict[Member, arb_mat] = {}
    if block.sink is not None:  # a key whose value is zero
        totals = _added(weights.sink(), lambda sink: ball_matrix(sink, (len(sink), 1)) * _last(values.shape[1]))
    step = tile_keys(block, flint.ctx.prec)
    for first in range(0, len(block.k), step):
        keys = slice(first, first + step)
        seen = block.attended[:, keys]
        if not seen.any():
            continue
        terms = weights.terms(keys, None if seen.all() else seen.ravel().tolist())
        for member, total in _added(terms, _Products(block, keys, values)).items():
            totals[member] = totals[member] + total if member in totals else total
    return totals


def _added(terms: Terms, multiplied: Callable[[list[arb]], arb_mat]) -> dict[Member, arb_mat]:
    """Return, for every member that terms name, what they add up to with all those before."""
    found: dict[Member, arb_mat] = {}
    total: arb_mat | None = None
    for member, factor, balls in terms:
        added = multiplied(balls) * factor
        total = added if total is None else total + added
        if member is not None:
            found[member] = total
    return found


class _Products:
    """Weights of a tile times values and ones; what dropout drops has no value, and counts among the weights."""

    def __init__(self, block: Block, keys: slice, values: Float64Array) -> None:
        self.shape = (len(block.rows), len(values[keys]))
        self.right = exact_matrix(values[keys])
        self.kept = None if block.kept is None else block.kept[:, keys]
        if self.kept is not None:
            only_values = values[keys].copy()
            only_values[:, -1] = 0.0
            self.values, self.ones = exact_matrix(only_values), exact_matrix(values[keys] - only_values)

    def __call__(self, balls: list[arb]) -> arb_mat:
        weights = ball_matrix(balls, self.shape)
        if self.kept is None:
            return weights * self.right
        kept = ball_matrix(only_attended(self.kept.ravel().tolist(), balls), self.shape)
        return kept * self.values + weights * self.ones


def _last(columns: int) -> arb_mat:
    """Return a row of zeros that ends in 1."""
    return arb_mat(1, columns, [0] * (columns - 1) + [1])
