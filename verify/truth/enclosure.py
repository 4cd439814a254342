"""Attention outputs enclosed in Arb balls: exact binary inputs, ball arithmetic from there to the quotient.

A ball [m +- r] produced here contains the exact value of the formula on the given inputs: every operation of
python-flint's `arb` and `arb_mat` returns a ball that contains all results for arguments in the argument balls (F.
Johansson, "Arb: efficient arbitrary-precision midpoint-radius interval arithmetic", IEEE Trans. Comput. 66, 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import frexp, inf
from typing import Any

import numpy as np
from flint import arb
from numpy.typing import NDArray

from verify.attention.contract import Member
from verify.errors import AttnproofError, CertificationError, UndefinedWeightsError
from verify.numbers.arrays import BoolArray
from verify.numbers.balls import Balls
from verify.numbers.precision import MAX_BITS, bits_for, digits_of, flint_precision
from verify.parallel.blocks import Block
from verify.truth.totals import Totals, weighted_sums

# Bits carried beyond the digits asked for: lost to rounding in sums of up to some 2**20 terms, and to cancellation.
GUARD_BITS = 64

# 2**-32768 is 10**-9864: what is smaller, as exp(-30000) is, counts as nothing, and is kept as 0 +- this.
NOTHING_BITS = 1 << 15

_EXACT = 1 << 62  # "bits" of a value known exactly


@dataclass(frozen=True)
class Enclosure:
    """The outputs of a block, for one member of a mechanism.

    balls: [r, d_v].  sign: [r], of the sum of weights.  bits: [r, d_v], accurate bits of each output.
    absolute: [r, d_v], True where the value is essentially zero, with no digits of its own: below 2**-(2 bits asked
    for) of the mean of |v| under the magnitudes of the weights, or below 2**-NOTHING_BITS.  logs: [r], logarithms of
    the sums of weights, NaN where such a sum is not positive or has an unknown factor.
    """

    balls: Balls
    sign: NDArray[np.int8]
    bits: NDArray[np.int64]
    absolute: BoolArray
    logs: Balls


def enclose(block: Block, members: Sequence[Member], digits: int) -> dict[Member, Enclosure]:
    """Return the enclosure of a block for each of some members of one mechanism, every element with `digits` digits.

    Working precision is raised for the rows that need it.  CertificationError names the first element that has not
    enough digits when the cap is reached, UndefinedWeightsError the first query whose weights add up to no number.
    """
    wanted = bits_for(digits) + 1
    working = stored = min(MAX_BITS, wanted + GUARD_BITS)
    shape = (len(block.rows), block.v.shape[1])
    found = {member: _blank(shape) for member in members}
    missing = np.ones(len(block.rows), dtype=np.bool_)
    while missing.any():
        part = block.take(missing)
        with flint_precision(working):
            sums = weighted_sums(part, members)
            quotients = {member: _Quotients(part, total, stored) for member, total in sums.items()}
            if working > 2 * wanted:
                for member, quotient in quotients.items():
                    quotient.find_zeros(member, wanted)
        lacking = {member: quotient.lacking(wanted) for member, quotient in quotients.items()}
        short = np.logical_or.reduce(list(lacking.values()))
        for member, quotient in quotients.items():
            quotient.hand_over(~short, found[member], np.flatnonzero(missing)[~short])
        if short.any() and working >= MAX_BITS:
            member = next(member for member, rows in lacking.items() if rows.any())
            raise quotients[member].shortfall(member, digits, wanted)
        missing[missing] = short
        working = min(MAX_BITS, 2 * working)
    return found


def _blank(shape: tuple[int, int]) -> Enclosure:
    bits, absolute = np.full(shape, _EXACT), np.zeros(shape, dtype=np.bool_)
    sign, logs = np.zeros(shape[0], dtype=np.int8), Balls.zeros(shape[:1])
    return Enclosure(Balls.zeros(shape), sign, bits, absolute, logs)


def _shortened(logs: NDArray[Any], stored: int) -> NDArray[Any]:
    """Return logarithms rounded to so many bits after the point, and all before it."""
    sizes = [abs(float(log)) for log in logs]
    before = max((frexp(size)[1] if size < inf else MAX_BITS for size in sizes if size == size), default=0)
    with flint_precision(min(MAX_BITS, stored + max(0, before))):
        shortened = np.empty_like(logs)
        shortened[:] = [log + 0 for log in logs]
        return shortened


class _Quotients:
    """The outputs of a block: numerators divided by the sums of weights, and how many bits each has."""

    def __init__(self, block: Block, totals: Totals, stored: int) -> None:
        """Divide; quotients carry the bits that are to be stored, whatever the sums were worked out with."""
        size = totals.sums.ncols() - 1
        table = totals.sums.tolist()
        self.block = block
        self.normaliser = [row[size] for row in table]
        self.output = np.empty((len(table), size), dtype=object)
        self.bits = np.full((len(table), size), _EXACT)
        self.absolute = np.zeros(self.bits.shape, dtype=np.bool_)
        self.logs = np.full(len(table), arb.nan(), dtype=object)
        divisor, shifts = totals.factor or (1, [])
        for i, shift in enumerate(shifts):
            if self.normaliser[i] > 0:
                self.logs[i] = (self.normaliser[i] / divisor).log() + shift
        self.logs = _shortened(self.logs, stored)
        with flint_precision(stored):
            kept = 1 - arb(block.dropout) if block.dropout else 1
            for i, row in enumerate(table):
                z = self.normaliser[i]
                if z.is_zero():  # proven: nothing attended (zero by convention), or weights that cancel (undefined)
                    seeing = block.attended[i].any() or block.sink is not None
                    self.output[i] = arb.nan() if seeing else arb(0)
                else:
                    quotients = [y / (z * kept) for y in row[:size]]
                    self.output[i] = np.array(quotients, dtype=object)
                    self.bits[i] = [min(y.rel_accuracy_bits(), _EXACT) for y in quotients]
            self._find_nothing()

    def _find_nothing(self) -> None:
        """Replace what is proven to be smaller than anything of interest; its exponent may be beyond all integers."""
        nothing = arb(2) ** -NOTHING_BITS
        values = np.fromiter(map(float, self.output.flat), np.float64, self.output.size).reshape(self.bits.shape)
        for i, j in np.argwhere(values == 0.0).tolist():
            if not self.output[i, j].is_zero() and abs(self.output[i, j]) < nothing:
                self.output[i, j] = arb(0, nothing)
                self.absolute[i, j] = True
                self.bits[i, j] = _EXACT

    def lacking(self, wanted: int) -> BoolArray:
        """Return the rows that have not enough bits.

        A logarithm has them if the sum has them, and it itself; below 2**-(2 bits asked for) it is as good as zero.
        """
        short: BoolArray = np.asarray((self.bits < wanted).any(axis=1))
        unit = arb(2) ** -wanted
        for i, log in enumerate(self.logs):
            known = not log.is_finite() or log.is_exact()
            known = known or (log.rel_accuracy_bits() >= wanted and log.rad() <= unit)
            short[i] |= not known and not abs(log) < unit * unit
        return short

    def find_zeros(self, member: Member, wanted: int) -> None:
        """Mark the outputs that cancel to nothing, and count them as accurate: zero has no leading digit."""
        short: BoolArray = np.asarray((self.bits < wanted).any(axis=1))
        if not short.any():
            return
        totals = weighted_sums(self.block.take(short), [member], magnitudes=True)
        table = totals[member].sums.tolist()
        for row, i in zip(table, np.flatnonzero(short).tolist(), strict=True):
            # the sum of weights of this very pass: another one's may carry another factor
            total = row[len(row) - 1] * (1 - arb(self.block.dropout))
            for j in np.flatnonzero(self.bits[i] < wanted).tolist():
                if abs(self.output[i, j]) < row[j] / total * arb(2) ** (-2 * wanted):
                    self.output[i, j] = arb(0, abs(self.output[i, j]).upper())
                    self.absolute[i, j] = True
                    self.bits[i, j] = wanted

    def hand_over(self, done: BoolArray, found: Enclosure, places: NDArray[np.int64]) -> None:
        """Put the rows that are done into their places."""
        found.balls.put(places, Balls.of(self.output[done]))
        signs = [int(z > 0) - int(z < 0) for z, ready in zip(self.normaliser, done.tolist(), strict=True) if ready]
        found.sign[places] = signs
        found.bits[places] = self.bits[done]
        found.absolute[places] = self.absolute[done]
        found.logs.put(places, Balls.of(self.logs[done]))

    def shortfall(self, member: Member, digits: int, wanted: int) -> AttnproofError:
        """Return what is to be raised: which element has not enough digits, or which query has no sum of weights."""
        if not (self.bits < wanted).any():
            row = int(np.flatnonzero(self.lacking(wanted))[0])
            return CertificationError(
                f"{member.name} on {self.block.name}: the logarithm of the sum of weights of query "
                f"{[*self.block.index, int(self.block.rows[row])]} is {self.logs[row].str(5)} at the cap of "
                f"{MAX_BITS} bits"
            )
        i, j = (int(place) for place in np.argwhere(self.bits < wanted)[0])
        element = [*self.block.index, int(self.block.rows[i]), j]
        if not self.normaliser[i].is_finite():
            return UndefinedWeightsError(
                f"{member.name} on {self.block.name}, whose weights of query {element[:-1]} add up to no number",
                f"weights that are numbers, in balls of up to {MAX_BITS} bits",
                "mend the formula, or take inputs on which it is defined",
            )
        return CertificationError(
            f"{member.name} on {self.block.name}: element {element} reached "
            f"{digits_of(int(self.bits[i, j]))} certified "
            f"digits of {digits} at the cap of {MAX_BITS} bits; its sum of weights is {self.normaliser[i].str(5)}"
        )
