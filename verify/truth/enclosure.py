"""Attention outputs enclosed in Arb balls: exact binary inputs, ball arithmetic from there to the quotient.

A ball [m +- r] produced here contains the exact value of the formula on the given inputs: every operation of
python-flint's `arb` and `arb_mat` returns a ball that contains all results for arguments in the argument balls (F.
Johansson, "Arb: efficient arbitrary-precision midpoint-radius interval arithmetic", IEEE Trans. Comput. 66, 2017).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import factorial
from typing import Any

import numpy as np
from flint import arb, arb_mat
from numpy.typing import NDArray

from verify.errors import CertificationError
from verify.problem import Float64Array, Head, Problem
from verify.truth.precision import bits_for, digits_of, flint_precision

# Rows are taken in blocks of at most this many query-key pairs, so that memory does not grow with n_q * n_k: a ball of
# a few hundred bits takes about 150 bytes, and three of them stand for each pair at once.
PAIRS_PER_BLOCK = 1 << 18

# 2**14 bits are 4,900 digits. Only sums that cancel to nothing need more, and those no precision can certify.
MAX_BITS = 1 << 14

_EXACT = 1 << 62  # "bits" of a value known exactly


@dataclass(frozen=True)
class BlockEnclosure:
    """The outputs of a block of rows of one head, for one member of a family (an order, or the only one).

    output: object array [rows, d_v] of arb.  normaliser: list of arb, the sum of weights of each row times a positive
    constant.  bits: [rows, d_v], accurate bits of each output.  absolute: [rows, d_v], True where the value is
    essentially zero: below 2**-(2 bits asked for) of the sum of the magnitudes of its terms, with no digits of its own.
    """

    head: Head
    rows: slice
    output: NDArray[Any]
    normaliser: list[Any]
    bits: NDArray[np.int64]
    absolute: NDArray[np.bool_]


def enclose(
    problem: Problem, mechanism: str, orders: range | None, digits: int
) -> Iterator[tuple[int | None, BlockEnclosure]]:
    """Yield the enclosures of every block of every head, each order of Taylor after the other within a block.

    Working precision is raised, block by block, until every element has `digits` digits.  CertificationError names the
    first element that has not when the precision cap is reached.
    """
    for head in problem.each_head():
        step = max(1, PAIRS_PER_BLOCK // max(1, problem.keys))
        for first in range(0, problem.queries, step):
            rows = slice(first, min(first + step, problem.queries))
            yield from _certified_block(problem, head, rows, mechanism, orders, digits)


def _certified_block(
    problem: Problem, head: Head, rows: slice, mechanism: str, orders: range | None, digits: int
) -> list[tuple[int | None, BlockEnclosure]]:
    wanted = bits_for(digits) + 1
    working = min(MAX_BITS, wanted + 64)
    while True:
        with flint_precision(working):
            sums = _weighted_sums(problem, head, rows, mechanism, orders)
            blocks = [(order, _quotients(head, rows, total)) for order, total in sums]
            if working > 2 * wanted:
                for order, block in blocks:
                    _find_zeros(problem, block, mechanism, order, wanted)
        short = [(order, block) for order, block in blocks if block.output.size and block.bits.min() < wanted]
        if not short:
            return blocks
        if working >= MAX_BITS:
            raise CertificationError(_shortfall(problem, mechanism, *short[0], digits, wanted))
        reached = max(0, min(int(block.bits.min()) for _, block in short))
        working = min(MAX_BITS, max(2 * working, working + wanted - reached))


def _weighted_sums(
    problem: Problem,
    head: Head,
    rows: slice,
    mechanism: str,
    orders: range | None,
    *,
    magnitudes: bool = False,
) -> Iterator[tuple[int | None, arb_mat]]:
    """Yield W [V | 1] per order: numerators in the first d_v columns, the sum of weights in the last.

    With magnitudes, every term of the sums is replaced by its absolute value.
    """
    attended = head.attended[rows].ravel().tolist()
    keys = _exact(head.k)
    queries = _exact(head.q[rows])
    values = _exact(np.pad(np.abs(head.v) if magnitudes else head.v, ((0, 0), (0, 1)), constant_values=1.0))
    shape = (queries.nrows(), keys.nrows())
    zero = arb(0)

    def sums(weights: list[arb]) -> arb_mat:
        seen = [w if a else zero for w, a in zip(weights, attended, strict=True)]
        total: arb_mat = arb_mat(*shape, seen) * values
        return total

    if mechanism == "logexp":
        # LE (1) without its constant c, which cancels: w_t = sum_i exp(q_i) exp(k_ti)
        weights = _entrywise_exp(queries) * _entrywise_exp(keys).transpose()
        yield None, sums(weights.entries())
        return

    scale = arb(problem.head_size).rsqrt() if problem.scale is None else arb(problem.scale)
    logits = [s * scale for s in (queries * keys.transpose()).entries()]
    if magnitudes and mechanism == "taylor":
        logits = [abs(s) for s in logits]  # the other weights are positive
    if mechanism == "softmax":
        yield None, sums([s.exp() for s in _shifted(logits, attended, shape)])
        return

    assert orders is not None
    # SA (9) grows by one term, and with it every sum over tokens. All weights are multiplied by (highest order)!, which
    # leaves the quotient as it is and the coefficients integers: logits with few bits stay exact, and weights that
    # cancel are seen to be zero.
    power = [arb(1)] * len(logits)
    total = arb_mat(shape[0], values.ncols())
    coefficient = factorial(orders.stop - 1)
    for p in range(orders.stop):
        if p:
            power = [w * s for w, s in zip(power, logits, strict=True)]
            coefficient //= p
        total += sums(power) * coefficient
        if p in orders:
            yield p, total


def _exact(array: Float64Array) -> arb_mat:
    rows, columns = array.shape
    return arb_mat(rows, columns, array.ravel().tolist())


def _entrywise_exp(matrix: arb_mat) -> arb_mat:
    # arb_mat.exp is the matrix exponential
    return arb_mat(matrix.nrows(), matrix.ncols(), [x.exp() for x in matrix.entries()])


def _shifted(logits: list[arb], attended: list[bool], shape: tuple[int, int]) -> list[arb]:
    """Subtract from each row the (exact) midpoint of its largest attended logit; the quotient does not change."""
    shifted: list[arb] = []
    for first in range(0, len(logits), max(1, shape[1])):
        row = logits[first : first + shape[1]]
        seen = [s.mid() for s, a in zip(row, attended[first : first + shape[1]], strict=True) if a]
        top = max(seen, default=arb(0))
        shifted.extend(s - top for s in row)
    return shifted


def _quotients(head: Head, rows: slice, sums: arb_mat) -> BlockEnclosure:
    """Divide numerators by the sums of weights and find out how many bits each quotient has."""
    size = sums.ncols() - 1
    table = sums.tolist()
    normaliser = [row[size] for row in table]
    output = np.empty((len(table), size), dtype=object)
    bits = np.full((len(table), size), _EXACT)
    for i, row in enumerate(table):
        z = normaliser[i]
        if z.is_zero():  # proven: nothing attended (zero by convention), or weights that cancel exactly (undefined)
            output[i] = [arb.nan() if head.attended[rows.start + i].any() else arb(0)] * size
        else:
            output[i] = quotients = [y / z for y in row[:size]]
            bits[i] = [min(y.rel_accuracy_bits(), _EXACT) for y in quotients]
    return BlockEnclosure(head, rows, output, normaliser, bits, np.zeros(bits.shape, dtype=np.bool_))


def _find_zeros(problem: Problem, block: BlockEnclosure, mechanism: str, order: int | None, wanted: int) -> None:
    """Mark the outputs that cancel to nothing, and count them as accurate: no precision gives zero a leading digit."""
    orders = None if order is None else range(order, order + 1)
    for i in np.flatnonzero((block.bits < wanted).any(axis=1)).tolist():
        row = slice(block.rows.start + i, block.rows.start + i + 1)
        ((_, total),) = _weighted_sums(problem, block.head, row, mechanism, orders, magnitudes=True)
        z = abs(block.normaliser[i])
        for j in np.flatnonzero(block.bits[i] < wanted).tolist():
            if abs(block.output[i, j]) < total[0, j] / z * arb(2) ** (-2 * wanted):
                block.absolute[i, j] = True
                block.bits[i, j] = wanted


def _shortfall(
    problem: Problem, mechanism: str, order: int | None, block: BlockEnclosure, digits: int, wanted: int
) -> str:
    i, j = (int(place) for place in np.argwhere(block.bits < wanted)[0])
    element = [*block.head.index, block.rows.start + i, j]
    name = mechanism if order is None else f"{mechanism} of order {order}"
    return (
        f"{name} on {problem.name}: element {element} reached {digits_of(int(block.bits[i, j]))} certified digits of "
        f"{digits} at the cap of {MAX_BITS} bits; its sum of weights is {block.normaliser[i].str(5)}"
    )
