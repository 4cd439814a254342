"""Numbers that keep a tally of what is done with them, and the arithmetic that is made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.numbers.arithmetic import Arithmetic
from verify.numbers.formats import FORMATS, Format


@dataclass(frozen=True)
class Operations:
    """Numbers of operations by kind; a subtraction is an addition, a square root a division, a sign is free."""

    multiplications: int = 0
    additions: int = 0
    divisions: int = 0
    exponentials: int = 0
    comparisons: int = 0

    @classmethod
    def kinds(cls) -> tuple[str, ...]:
        """Return the names of the kinds."""
        return tuple(field.name for field in fields(cls))

    @property
    def flops(self) -> int:
        """All of them but comparisons, each as one, as the papers count."""
        return self.multiplications + self.additions + self.divisions + self.exponentials

    def __add__(self, other: Operations) -> Operations:
        return Operations(**{kind: getattr(self, kind) + getattr(other, kind) for kind in self.kinds()})

    def __sub__(self, other: Operations) -> Operations:
        return Operations(**{kind: getattr(self, kind) - getattr(other, kind) for kind in self.kinds()})

    def __mul__(self, times: int) -> Operations:
        return Operations(**{kind: times * getattr(self, kind) for kind in self.kinds()})

    def shared_by(self, tokens: int) -> Operations:
        """Return what each of so many tokens took; ArithmeticError if they cannot have taken the same."""
        counts = {kind: divmod(getattr(self, kind), tokens) for kind in self.kinds()}
        if any(rest for _, rest in counts.values()):
            raise ArithmeticError(f"{self} is not the same for each of {tokens} tokens")
        return Operations(**{kind: each for kind, (each, _) in counts.items()})


@dataclass
class Tally:
    """How many operations of each kind have been carried out."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Operations.kinds(), 0))

    def taken(self) -> Operations:
        """Return the counts so far and begin anew."""
        found = Operations(**self.counts)
        self.counts = dict.fromkeys(self.counts, 0)
        return found


class Counted:
    """A number whose operations, with numbers of its kind or constants, are added to a tally."""

    __slots__ = ("tally", "value")

    def __init__(self, value: float, tally: Tally) -> None:
        self.value = value
        self.tally = tally

    def _made(self, kind: str, value: float) -> Counted:
        self.tally.counts[kind] += 1
        return Counted(value, self.tally)

    def __add__(self, other: Any) -> Counted:
        return self._made("additions", self.value + _plain(other))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Counted:
        return self._made("additions", self.value - _plain(other))

    def __rsub__(self, other: Any) -> Counted:
        return self._made("additions", _plain(other) - self.value)

    def __mul__(self, other: Any) -> Counted:
        return self._made("multiplications", self.value * _plain(other))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Counted:
        return self._made("divisions", self.value / _plain(other))

    def __rtruediv__(self, other: Any) -> Counted:
        return self._made("divisions", _plain(other) / self.value)

    def __neg__(self) -> Counted:
        return Counted(-self.value, self.tally)

    def sqrt(self) -> Counted:
        """Return the square root; numpy's sqrt calls it."""
        return self._made("divisions", math.sqrt(self.value))

    def exp(self) -> Counted:
        """Return e to this power; numpy's exp calls it."""
        return self._made("exponentials", math.exp(self.value))

    def _compared(self, outcome: bool) -> bool:
        self.tally.counts["comparisons"] += 1
        return outcome

    def __lt__(self, other: Any) -> bool:
        return self._compared(self.value < _plain(other))

    def __le__(self, other: Any) -> bool:
        return self._compared(self.value <= _plain(other))

    def __gt__(self, other: Any) -> bool:
        return self._compared(self.value > _plain(other))

    def __ge__(self, other: Any) -> bool:
        return self._compared(self.value >= _plain(other))

    def __eq__(self, other: object) -> bool:
        return bool(self.value == _plain(other))  # no formulation asks for it, only what watches for lost additions

    def __float__(self) -> float:
        return float(self.value)


@dataclass(frozen=True)
class CountingArithmetic(Arithmetic):
    """An arithmetic whose numbers are counted; their values are those of float64."""

    name: str = "counted float64"
    inputs: Format = FORMATS["float64"]
    factors: Format = FORMATS["float64"]
    sums: Format = FORMATS["float64"]
    output: Format = FORMATS["float64"]
    tally: Tally = field(default_factory=Tally)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Objects."""
        return np.dtype(object)

    def as_input(self, values: NDArray[np.float64]) -> NDArray[Any]:
        """Return the numbers as counted ones."""
        counted = np.empty(values.shape, dtype=object)
        counted.ravel()[:] = [Counted(value, self.tally) for value in values.ravel().tolist()]
        return counted

    def as_constant(self, values: NDArray[np.float64]) -> NDArray[Any]:
        """Return the numbers as they are: what is done with constants alone is not counted."""
        return values.astype(object)

    def as_sum_constant(self, value: float) -> float:
        """Return the number as it is."""
        return value

    as_factor_constant = as_sum_constant

    def as_factor(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the same numbers: float64 rounds by itself."""
        return values

    as_sum = as_output = as_factor

    @property
    def keeps_factors(self) -> bool:
        """Always: float64 rounds by itself."""
        return True

    keeps_sums = keeps_factors


def _plain(number: Any) -> Any:
    return number.value if isinstance(number, Counted) else number
