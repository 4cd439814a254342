"""Proofs as data: steps that a reader can follow, each checked by sympy or, where it is an argument in words, on cases.

An equality between closed forms is checked twice: sympy reduces the difference of its sides to zero, and both sides are
worked out exactly on a grid of integers, so that neither a slip of ours nor one of sympy's passes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import sympy

from verify.finding import Finding, first_difference

# Head sizes and value sizes start at 1, degrees, orders and exponents at 0; t is any number below 1.
d, d_v = sympy.symbols("d d_v", integer=True, positive=True)
p, N, e = sympy.symbols("p N e", integer=True, nonnegative=True)
W = sympy.symbols("W", integer=True, positive=True)
t = sympy.symbols("t", real=True)

GRID = 4  # values of each variable at which an equality is worked out, from its least on
POINTS_OF_T = (sympy.Rational(1, 3), sympy.Rational(-5, 2))


class Step(Protocol):
    """One step of a proof."""

    @property
    def text(self) -> str:
        """The step as a reader sees it."""

    def differences(self) -> Iterable[str]:
        """Yield what is wrong with it."""


@dataclass(frozen=True)
class Argument:
    """A step in words, with cases of it worked out by other means: `cases` yields what contradicts it.

    where: what cases there are.
    """

    words: str
    where: str
    cases: Callable[[], Iterable[str]]

    @property
    def text(self) -> str:
        """The words, and where they were tried."""
        return f"{self.words} [argument; tried {self.where}]"

    def differences(self) -> Iterator[str]:
        """Yield the cases that contradict it."""
        yield from self.cases()


@dataclass(frozen=True)
class Equality:
    """Two closed forms that are equal for all values of their variables, or with some of them at fixed values."""

    why: str
    left: sympy.Expr
    right: sympy.Expr
    at: tuple[tuple[sympy.Symbol, int], ...] = ()

    @property
    def text(self) -> str:
        """Why, and both sides."""
        where = "".join(f" at {name} = {value}" for name, value in self.at)
        return f"{self.why}: {plain(self.left)}{where} = {plain(self.right)} [sympy]"

    def differences(self) -> Iterator[str]:
        """Yield points at which the sides differ, then what sympy leaves of their difference."""
        sides = [side.subs(dict(self.at)) for side in (self.left, self.right)]
        variables = sorted(sides[0].free_symbols | sides[1].free_symbols, key=str)
        for values in itertools.product(*map(_values, variables)):
            point = dict(zip(variables, values, strict=True))
            left, right = (sympy.simplify(side.subs(point)) for side in sides)
            if left != right:
                where = ", ".join(f"{name} = {value}" for name, value in {**dict(self.at), **point}.items())
                yield f"{plain(self.left)} is {left} and {plain(self.right)} is {right} at {where or 'all points'}"
        rest = sympy.simplify(sympy.gammasimp((sides[0] - sides[1]).rewrite(sympy.gamma)))
        if rest != 0:
            yield f"sympy leaves {plain(rest)} of {plain(self.left)} - ({plain(self.right)})"


@dataclass(frozen=True)
class Limit:
    """The limit of a closed form as a variable grows without bound."""

    why: str
    expression: sympy.Expr
    variable: sympy.Symbol
    value: sympy.Expr

    @property
    def text(self) -> str:
        """Why, the form and its limit."""
        return f"{self.why}: {plain(self.expression)} -> {plain(self.value)} as {self.variable} -> oo [sympy]"

    def differences(self) -> Iterator[str]:
        """Yield another limit, if that is what sympy finds."""
        found = sympy.limit(self.expression, self.variable, sympy.oo)
        if sympy.simplify(found - self.value) != 0:
            yield f"sympy finds the limit {plain(found)} and not {plain(self.value)} of {plain(self.expression)}"


@dataclass(frozen=True)
class Positive:
    """A polynomial that is positive, or only not negative, for all variables from their least values on.

    With each variable written as its least value plus another that is at least zero, all coefficients of the expanded
    polynomial are positive; and so is the constant one, unless `zero` allows the polynomial to be zero.
    """

    why: str
    polynomial: sympy.Expr
    least: tuple[tuple[sympy.Symbol, int], ...]
    zero: bool = False

    @property
    def text(self) -> str:
        """Why, the polynomial and where."""
        where = ", ".join(f"{name} >= {least}" for name, least in self.least)
        claim = f"{plain(self.polynomial)} {'>=' if self.zero else '>'} 0 for {where}"
        return f"{self.why}: {claim} [sympy: expanded from there, all coefficients positive]"

    def differences(self) -> Iterator[str]:
        """Yield the first coefficient that is not positive."""
        names = [name for name, _ in self.least]
        shifted = sympy.Poly(self.polynomial.subs({name: name + least for name, least in self.least}), *names)
        terms = dict(shifted.terms())
        if not self.zero:
            terms.setdefault((0,) * len(names), sympy.Integer(0))
        for exponents, coefficient in terms.items():
            if not coefficient > 0:
                powers = "*".join(f"{name}^{power}" for name, power in zip(names, exponents, strict=True))
                yield f"the coefficient of {powers} in {plain(shifted.as_expr())} is {coefficient}, not positive"


@dataclass(frozen=True)
class Proof:
    """A statement for all d and p, and the steps that lead to it."""

    name: str
    source: str
    statement: str
    steps: tuple[Step, ...]
    variables: str = "d, p"

    def finding(self) -> Finding:
        """Check every step and return what became of the statement."""
        difference = None
        for number, step in enumerate(self.steps, 1):
            found = first_difference(step.differences)
            if found is not None:
                difference = f"step {number}: {found}"
                break
        texts = tuple(step.text for step in self.steps)
        return Finding(self.name, self.source, self.statement, f"proved for all {self.variables}", texts, difference)


def sum_by_induction(term: sympy.Expr, closed: sympy.Expr) -> tuple[Equality, Equality]:
    """Return the two steps that show sum over p = 0 .. N of term(p) = closed(N) for all N."""
    return (
        Equality("for N = 0 the sum is its one term", closed, term.subs(p, 0), ((N, 0),)),
        Equality("from N to N + 1, adding the term p = N + 1", closed + term.subs(p, N + 1), closed.subs(N, N + 1)),
    )


def plain(expression: Any) -> str:
    """Return an expression as text, C(n, k) for binomials and ^ for powers."""
    text = str(expression).replace("binomial(", "C(").replace("RisingFactorial(", "rising(")
    return text.replace("**", "^")


def _values(variable: sympy.Symbol) -> Iterable[Any]:
    if variable == t:
        return POINTS_OF_T
    least = 1 if variable.is_positive else 0
    return range(least, least + GRID)
