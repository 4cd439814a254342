"""Named precision policies: which format inputs, factors of matrix products, sums and outputs are held in.

An arithmetic works on a carrier, a numpy type in which every number of its formats is exact.  An operation is carried
out in the carrier and its result rounded to the format at once: that is the correctly rounded operation in the format
wherever the carrier has at least 2 p + 2 bits for the format's p (S. Figueroa, SIGNUM Newsletter 30(3), 1995), and
float32 has 24 for the 11 of float16 and fewer for the others.  exp and log come from the carrier's library.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import unknown
from verify.numbers.formats import FORMATS, Format

# Roundings that exp, log and tanh of the libraries are taken to have, in the carrier that they work in: at most 4 units
# in the last place, as numpy's own tests allow them, and a unit in the last place is two unit roundoffs.
LIBRARY = 8.0


@dataclass(frozen=True)
class Arithmetic:
    """One policy.

    inputs: format that q, k and v are rounded to.  factors: of features, coefficients and weights, whatever a matrix
    product multiplies; features are multiplied in it.  sums: of logits, accumulators, state and quotients; products are
    added in it.  output: of the result.

    Where sums are kept in the carrier's own format, matrix products are the library's and products of factors are not
    rounded by themselves if they are exact there, as those of 16-bit factors are in float32.  Elsewhere a product is
    rounded and added, one after the other in the order of the inner index.
    """

    name: str
    inputs: Format
    factors: Format
    sums: Format
    output: Format

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The numpy type that carries the numbers of all four formats."""
        return np.dtype(np.float64 if self.sums.name == "float64" else np.float32)

    @property
    def description(self) -> str:
        """What is held in which format."""
        if {self.inputs, self.factors, self.output} == {self.sums}:
            return f"inputs, operations and output in {self.sums.name}"
        factors = f"inputs and features in {self.factors.name}"
        return f"{factors}, sums and state in {self.sums.name}, output in {self.output.name}"

    def as_input(self, values: NDArray[np.float64]) -> NDArray[Any]:
        """Return inputs in the format of inputs, overflow to infinity."""
        return self.inputs.rounded(values).astype(self.dtype)

    def as_constant(self, values: NDArray[np.float64]) -> NDArray[Any]:
        """Return constants of a formulation in the format of factors."""
        return self.factors.rounded(values).astype(self.dtype)

    def as_sum_constant(self, value: float) -> Any:
        """Return a constant in the format of sums, to be used with numbers of it."""
        return self.sums.rounded(np.asarray(value)).astype(self.dtype)[()]

    def as_factor_constant(self, value: float) -> Any:
        """Return a constant in the format of factors, to be used with numbers of it."""
        return self.factors.rounded(np.asarray(value)).astype(self.dtype)[()]

    def as_factor(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return results of the carrier rounded to the format of factors; the same array if that is the carrier's."""
        return self._settled(values, self.factors)

    def as_sum(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return results of the carrier rounded to the format of sums; the same array if that is the carrier's."""
        return self._settled(values, self.sums)

    def as_output(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the result in its format and that format's numpy type."""
        return self.output.rounded(values)

    def product(self, left: NDArray[Any], right: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the matrix product of factors [..., m, k] and [..., k, n], added up in the sums' format.

        out: where to put it, if not in a new array.
        """
        if self.keeps_sums:
            return np.asarray(np.matmul(left, right, out=out))
        shape = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
        total = np.empty((*shape, left.shape[-2], right.shape[-1]), dtype=self.dtype) if out is None else out
        total[...] = 0
        self.add_product(total, left, right)
        return total

    def add_product(
        self, total: NDArray[Any], left: NDArray[Any], right: NDArray[Any], room: NDArray[Any] | None = None
    ) -> int:
        """Add a matrix product of factors to sums [..., m, n], in place; return how many additions were lost.

        Those of something other than zero that left a sum as it was; none are known where the library adds.  room:
        space for the product, if it need not be new.
        """
        if self.keeps_sums:
            total += np.matmul(left, right, out=room)
            return 0
        lost = 0
        for i in range(left.shape[-1]):
            term = self.as_sum(left[..., i, None] * right[..., i, None, :])
            found = self.as_sum(total + term)
            lost += int(np.count_nonzero((found == total) & (term != 0)))
            total[...] = found
        return lost

    def total(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the sum over the last axis, which stays with length 1, in the sums' format."""
        if self.keeps_sums:
            return np.asarray(values.sum(axis=-1, keepdims=True))
        return self.product(values, np.ones((values.shape[-1], 1), dtype=self.dtype))

    def add_total(self, total: NDArray[Any], values: NDArray[Any]) -> int:
        """Add sums over the last axis of factors to sums [..., 1], in place; return how many additions were lost."""
        if self.keeps_sums:
            total += values.sum(axis=-1, keepdims=True)
            return 0
        return self.add_product(total, values, np.ones((values.shape[-1], 1), dtype=self.dtype))

    @cached_property
    def keeps_factors(self) -> bool:
        """Whether factors need no rounding of their own: their format is the carrier's."""
        return self.factors.dtype == self.dtype

    @cached_property
    def keeps_sums(self) -> bool:
        """Whether sums need no rounding of their own: their format is the carrier's."""
        return self.sums.dtype == self.dtype

    def _settled(self, values: NDArray[Any], format_: Format) -> NDArray[Any]:
        return values if format_.dtype == self.dtype else format_.rounded(values).astype(self.dtype)


def _pure(name: str) -> Arithmetic:
    return Arithmetic(name, FORMATS[name], FORMATS[name], FORMATS[name], FORMATS[name])


def _mixed(narrow: str, output: str) -> Arithmetic:
    return Arithmetic(f"{narrow}+float32", FORMATS[narrow], FORMATS[narrow], FORMATS["float32"], FORMATS[output])


ARITHMETICS = {
    arithmetic.name: arithmetic
    for arithmetic in (
        _pure("float64"),
        _pure("float32"),
        _mixed("float16", "float16"),
        _mixed("bfloat16", "bfloat16"),
        _mixed("float8_e4m3fn", "bfloat16"),
        _pure("float16"),
        _pure("bfloat16"),
    )
}


def named_arithmetic(name: str | Arithmetic) -> Arithmetic:
    """Return the arithmetic called name, or one that is given itself; InvalidRequestError names the known ones."""
    if isinstance(name, Arithmetic):
        return name
    try:
        return ARITHMETICS[name]
    except (KeyError, TypeError):
        raise unknown(f"unknown arithmetic {name!r}", name, ARITHMETICS) from None
