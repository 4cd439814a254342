"""Outputs that are rational numbers, found by algebra: no ball can show that a value is exactly a tie.

With weights w_t = sum_x c_tx e^x, exactly, y sum_t w_t = sum_t w_t v_t says for an algebraic y, and for no other, that
y D_x = N_x for every exponent x, D_x = sum_t c_tx and N_x = sum_t c_tx v_t (Lindemann and Weierstrass).
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import cache, cached_property
from typing import Any

import numpy as np
from gmpy2 import mpq
from numpy.typing import NDArray

from verify.attention.contract import Member
from verify.attention.formula import row_weights
from verify.errors import MechanismError
from verify.numbers.exponentials import NOTHING, ExponentialField, Surd, Vector
from verify.problem import Head, Problem

Place = tuple[int, ...]

# Components of keys that formulas go through, over all rows: more may take ten seconds.
MOST_COMPONENTS = 1 << 20


def rational_values(
    problem: Problem, member: Member, places: Iterable[Place], *, by_formula: bool = True
) -> dict[Place, Fraction]:
    """Return those of some outputs (head, query, component) that are known to be rational, with their values.

    A column of v that is constant over the attended keys, groups of equal keys with the same mean of v and, by_formula,
    whatever the mechanism's formula shows in exact sums of exponentials.  Outputs have to be defined.  One that is not
    returned is irrational, or its formula leaves those sums, or there are too many keys.
    """
    columns: dict[Place, list[int]] = {}
    for place in places:
        columns.setdefault(place[:-1], []).append(place[-1])
    concerned = {row[:-1] for row in columns}
    left = MOST_COMPONENTS if by_formula else 0
    heads = {head.index: _Head(head, member) for head in problem.each_head() if head.index in concerned}
    found: dict[Place, Fraction] = {}
    for (*index, query), wanted in columns.items():
        row = heads[tuple(index)].row(query)
        for column in wanted:
            value = row.value(column)
            if value is None and (row.worked_out or row.components <= left):
                left -= 0 if row.worked_out else row.components
                value = row.by_formula(column)
            if value is not None:
                found[*index, query, column] = value
    return found


class _Head:
    """One head; rows of the same query and the same attended keys are worked out once."""

    def __init__(self, head: Head, member: Member) -> None:
        self.head, self.member = head, member
        # -0.0 + 0.0 is 0.0: equal numbers have equal bytes
        _, kinds = np.unique(head.k + 0.0, axis=0, return_inverse=True)
        self.kinds = np.asarray(kinds).ravel()
        self.known: dict[bytes, _Row] = {}
        self.field = ExponentialField()
        self.keys = cache(lambda t: Vector(self.field, head.k[t].tolist()))
        self.column = cache(lambda j: [mpq(*x.as_integer_ratio()) for x in head.v[:, j].tolist()])

    def row(self, row: int) -> _Row:
        """Return what is known of a row."""
        head, own = self.head, slice(row, row + 1)
        attended = head.attendance.rows(own)[0]
        name = (head.q[row] + 0.0).tobytes() + np.packbits(attended).tobytes()
        by_row = [None if array is None else array[row] for array in (head.bias, head.kept)]
        by_row += [] if head.slope is None else [head.distances(own)[0]]
        name += b"".join(array.tobytes() for array in by_row if array is not None)
        if name not in self.known:
            self.known[name] = _Row(self, row, np.flatnonzero(attended))
        return self.known[name]


class _Row:
    """The keys that one query sees, equal ones together: representatives, and how many each group has.

    Keys are equal if what is added to their logits is equal as well.  A sink is a group of its own, the last.
    """

    def __init__(self, of: _Head, row: int, seen: NDArray[np.int64]) -> None:
        self.of, self.head, self.row, self.seen = of, of.head, row, seen
        head = of.head
        _, first, group = np.unique(self._told(seen), axis=-1, return_index=True, return_inverse=True)
        self.group, self.keys = np.asarray(group).ravel(), seen[first]
        self.shown: list[mpq] | None = None
        if head.kept is not None:
            share = 1 / (1 - mpq(*head.dropout.as_integer_ratio()))
            self.shown = [share if kept else mpq(0) for kept in head.kept[row, seen].tolist()]
        self.counts = [mpq(count) for count in np.bincount(self.group).tolist()]
        self.components = len(self.keys) * self.head.k.shape[1]

    def _told(self, seen: NDArray[np.int64]) -> NDArray[Any]:
        """Return what tells keys apart, [n] or [what, n]."""
        head, kinds = self.head, self.of.kinds[seen]
        if not head.adjusts:
            return kinds
        told = [kinds.astype(np.float64)]
        told += [] if head.bias is None else [head.bias[self.row, seen] + 0.0]
        told += [] if head.slope is None else [head.distances(slice(self.row, self.row + 1))[0, seen] + 0.0]
        return np.stack(told)

    @property
    def worked_out(self) -> bool:
        """Whether the formula has been gone through."""
        return "coefficients" in vars(self)

    def value(self, column: int) -> Fraction | None:
        """Return an output if equal keys or values make it rational."""
        shown = self.head.v[self.seen, column] * (
            1.0 if self.head.kept is None else self.head.kept[self.row, self.seen]
        )
        if self.head.sink is not None:  # a share of the weights is nobody's, and no rational one
            return None if shown.any() else Fraction(0)
        if (shown == shown[0]).all():
            return _fraction(self._values(column)[0])
        means = {total / count for total, count in zip(self._sums(column), self.counts, strict=True)}
        return _fraction(means.pop()) if len(means) == 1 else None

    def _sums(self, column: int) -> list[mpq]:
        """Return the sums of v over the groups."""
        sums = [mpq(0)] * len(self.counts)
        for group, value in zip(self.group.tolist(), self._values(column), strict=True):
            sums[group] += value
        return sums

    def _values(self, column: int) -> list[mpq]:
        """Return the values of the keys, 0 where they are dropped."""
        whole = self.of.column(column)
        values = [whole[t] for t in self.seen.tolist()]
        if self.shown is None:
            return values
        return [v * share for v, share in zip(values, self.shown, strict=True)]

    def by_formula(self, column: int) -> Fraction | None:
        """Return the y for which y D_x = N_x for every exponent x, if there is one and it is rational."""
        field, found, sunk = self.of.field, None, int(self.head.sink is not None)
        sums, counts = self._sums(column) + [mpq(0)] * sunk, self.counts + [mpq(1)] * sunk
        pairs = [(_summed(by_group, sums), _summed(by_group, counts)) for by_group in self.coefficients.values()]
        for numerator, total in pairs:
            if total != NOTHING:
                found = field.times(numerator, field.inverse(total))
                break
        if found is None or found.b:
            return None
        agree = all(field.times(found, total) == numerator for numerator, total in pairs)
        return _fraction(found.a) if agree else None

    @cached_property
    def coefficients(self) -> dict[Surd, dict[int, Surd]]:
        """For every exponent x the coefficients c_gx of the groups that have it; empty where the formula has none."""
        field, head, member = self.of.field, self.head, self.of.member
        keys = [self.of.keys(t) for t in self.keys.tolist()]
        try:
            scale = field.scale(head.scale, head.k.shape[1])
            query = Vector(field, head.q[self.row].tolist())
            weights = row_weights(field, head, self.row, (query, keys), self.keys, scale, member)
            found: dict[Surd, dict[int, Surd]] = {}
            for group, weight in enumerate(weights):
                for x, coefficient in field.number(weight).terms.items():
                    found.setdefault(x, {})[group] = coefficient
        except (ArithmeticError, MechanismError):
            return {}
        return found


def _fraction(x: mpq) -> Fraction:
    return Fraction(int(x.numerator), int(x.denominator))


def _summed(coefficients: dict[int, Surd], numbers: list[mpq]) -> Surd:
    """Return sum_g c_g n_g."""
    parts = [sum((c[part] * numbers[g] for g, c in coefficients.items()), mpq(0)) for part in (0, 1)]
    return Surd(*parts)
