"""Sums over keys of weights and of weights times values, in ball arithmetic at the current precision.

Keys are taken in tiles, so that memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Sequence

import flint
import numpy as np
from flint import arb_mat

from verify.attention.contract import Member, TileWeights
from verify.attention.tiles import ball_matrix, exact_matrix, tile_keys
from verify.errors import MechanismError
from verify.parallel.blocks import Block


def weighted_sums(block: Block, members: Sequence[Member], *, magnitudes: bool = False) -> dict[Member, arb_mat]:
    """Return W [V | 1] for members of one mechanism: numerators in the first d_v columns, sums of weights in the last.

    Members that share work share a factor.  With magnitudes, every term of the sums is replaced by its absolute value.
    Raises MechanismError for a mechanism that leaves out a member.
    """
    totals: dict[Member, arb_mat] = {}
    for weights in members[0].mechanism.balls(block, members, magnitudes=magnitudes):
        for member, total in _summed(block, weights, magnitudes).items():
            totals[member] = total
    for member in members:
        if member not in totals and block.attended.any():
            raise MechanismError(
                f"no weights of {member.name} in balls", "those of every member asked for", f"mend {member.of}"
            )
    nothing = arb_mat(len(block.rows), block.v.shape[1] + 1)
    return {member: totals.get(member, nothing) for member in members}


def _summed(block: Block, weights: TileWeights, magnitudes: bool) -> dict[Member, arb_mat]:
    values = np.pad(np.abs(block.v) if magnitudes else block.v, ((0, 0), (0, 1)), constant_values=1.0)
    totals: dict[Member, arb_mat] = {}
    step = tile_keys(block, flint.ctx.prec)
    for first in range(0, len(block.k), step):
        keys = slice(first, first + step)
        seen = block.attended[:, keys]
        if not seen.any():
            continue
        right = exact_matrix(values[keys])
        total = arb_mat(len(block.rows), values.shape[1])
        for member, factor, tile in weights.terms(block.k[keys], None if seen.all() else seen.ravel().tolist()):
            total += ball_matrix(tile, seen.shape) * right * factor
            if member is not None:
                totals[member] = totals[member] + total if member in totals else total
    return totals
