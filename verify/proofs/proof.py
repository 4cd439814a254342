"""Proofs as data: steps that a reader can follow, each checked by sympy or, where it is an argument in words, on cases.

An equality, a limit or an inequality is accepted only in a form in which the check is a proof for all values of the
variables: no denominator can vanish, and no gamma function can meet a pole.  What is not seen to be so is refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import sympy

from verify.proofs.finding import Finding, first_difference

VARIABLES = "d, d_v >= 1 and p, N, e >= 0 are integers, W is a multiple of d, u > 0 a number"

d, d_v = sympy.symbols("d d_v", integer=True, positive=True)
p, N, e = sympy.symbols("p N e", integer=True, nonnegative=True)
W = sympy.symbols("W", integer=True, positive=True)
u = sympy.symbols("u", real=True, positive=True)

GRID = 4  # values of each variable at which an equality is worked out, from its least on
POINTS_OF_U = (sympy.Rational(1, 3), sympy.Rational(5, 2))


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
    """Two closed forms that are equal for all values of their variables, or with some of them at fixed values.

    Both sides are finite for all of them, which is seen from their denominators and gamma functions; then sympy reduces
    their difference to zero, and both are worked out exactly on a grid.
    """

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
        """Yield points at which the sides differ, what sympy leaves of their difference, and what may be a pole."""
        sides = [sympy.sympify(side).subs(dict(self.at)) for side in (self.left, self.right)]
        variables = sorted(sides[0].free_symbols | sides[1].free_symbols, key=str)
        for values in itertools.product(*map(_values, variables)):
            point = dict(zip(variables, values, strict=True))
            left, right = (sympy.simplify(side.subs(point)) for side in sides)
            if not (left.is_finite and right.is_finite and left == right):
                where = ", ".join(f"{name} = {value}" for name, value in {**dict(self.at), **point}.items())
                yield f"{plain(self.left)} is {left} and {plain(self.right)} is {right} at {where or 'all points'}"
        rest = sympy.simplify(sympy.gammasimp((sides[0] - sides[1]).rewrite(sympy.gamma)))
        if rest != 0:
            yield f"sympy leaves {plain(rest)} of {plain(self.left)} - ({plain(self.right)})"
        for side in sides:
            yield from _irregular(side)


@dataclass(frozen=True)
class Limit:
    """The limit of a rational function as a variable grows without bound, for all values of the others.

    The quotient of the leading coefficients in that variable, of which the denominator's is positive.
    """

    why: str
    expression: sympy.Expr
    variable: sympy.Symbol
    value: sympy.Expr

    @property
    def text(self) -> str:
        """Why, the form and its limit."""
        return f"{self.why}: {plain(self.expression)} -> {plain(self.value)} as {self.variable} -> oo [sympy]"

    def differences(self) -> Iterator[str]:
        """Yield another limit, if that is what the leading coefficients say, or that they do not say."""
        numerator, denominator = (
            sympy.Poly(part, self.variable) for part in sympy.fraction(sympy.cancel(self.expression))
        )
        if not _positive(denominator.LC()):
            yield f"the leading coefficient {plain(denominator.LC())} of {plain(denominator.as_expr())} may vanish"
        gap = numerator.degree() - denominator.degree()
        found = sympy.oo if gap > 0 else numerator.LC() / denominator.LC() if gap == 0 else sympy.Integer(0)
        if found is sympy.oo or sympy.cancel(found - self.value) != 0:
            yield f"the limit is {plain(found)} and not {plain(self.value)} of {plain(self.expression)}"


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
        yield from _negative_terms(self.polynomial, dict(self.least), zero=self.zero)


@dataclass(frozen=True)
class Proof:
    """A statement for all values of its variables, and the steps that lead to it."""

    name: str
    source: str
    statement: str
    steps: tuple[Step, ...]
    variables: str = "d, p"

    def finding(self) -> Finding:
        """Check every step and return what became of the statement."""
        difference = None if self.steps else "there are no steps"
        for number, step in enumerate(self.steps, 1):
            found = first_difference(step.differences)
            if found is not None:
                difference = f"step {number}: {found}"
                break
        words = [str(number) for number, step in enumerate(self.steps, 1) if isinstance(step, Argument)]
        scope = f"proved for all {self.variables}"
        if words:
            scope += f"; {'step' if len(words) == 1 else 'steps'} {', '.join(words)} in words, tried on cases"
        texts = tuple(step.text for step in self.steps)
        return Finding(self.name, self.source, self.statement, "not proved" if difference else scope, texts, difference)


def sum_by_induction(term: sympy.Expr, closed: sympy.Expr) -> tuple[Equality, Equality]:
    """Return the two steps that show sum over p = 0 .. N of term(p) = closed(N) for all N."""
    if term.has(N) or closed.has(p):
        raise ValueError(f"a term {term} that changes with N, or a sum {closed} that has p")
    return (
        Equality("for N = 0 the sum is its one term", closed, term.subs(p, 0), ((N, 0),)),
        Equality("from N to N + 1, adding the term p = N + 1", closed + term.subs(p, N + 1), closed.subs(N, N + 1)),
    )


def plain(expression: Any) -> str:
    """Return an expression as text, C(n, k) for binomials and ^ for powers."""
    text = str(expression).replace("binomial(", "C(").replace("RisingFactorial(", "rising(")
    return text.replace("**", "^")


def _values(variable: sympy.Symbol) -> Iterable[Any]:
    if variable == u:
        return POINTS_OF_U
    return range(_least(variable), _least(variable) + GRID)


def _least(variable: sympy.Symbol) -> int:
    return 1 if variable.is_positive else 0


def _negative_terms(polynomial: sympy.Expr, least: Mapping[sympy.Symbol, int], *, zero: bool = False) -> Iterator[str]:
    names = list(least)
    shifted = sympy.Poly(sympy.sympify(polynomial).subs({name: name + least[name] for name in names}), *names)
    if not (shifted.domain.is_ZZ or shifted.domain.is_QQ):
        yield f"{plain(polynomial)} is no polynomial in {', '.join(map(str, names))} with rational coefficients"
        return
    terms = dict(shifted.terms())
    if not zero:
        terms.setdefault((0,) * len(names), sympy.Integer(0))
    for exponents, coefficient in terms.items():
        if coefficient < 0 or (coefficient == 0 and not zero):
            powers = "*".join(f"{name}^{power}" for name, power in zip(names, exponents, strict=True))
            yield f"the coefficient of {powers} in {plain(shifted.as_expr())} is {coefficient}, not positive"


def _positive(expression: sympy.Expr) -> bool:
    """Say whether a polynomial is seen to be positive for all values of the variables in it."""
    symbols = sorted(expression.free_symbols, key=str)
    if not symbols:
        return bool(expression > 0)
    if not expression.is_polynomial(*symbols):
        return False
    return next(_negative_terms(expression, {name: 0 if name == u else _least(name) for name in symbols}), None) is None


def _irregular(side: sympy.Expr) -> Iterator[str]:
    """Yield what may be infinite or undefined for some values of the variables."""
    gammas = side.rewrite(sympy.gamma)
    for function in gammas.atoms(sympy.Function):
        if not (isinstance(function, sympy.gamma) and _positive(function.args[0])):
            yield f"{plain(function)} in {plain(side)} may have a pole"
    for power in gammas.atoms(sympy.Pow):
        base, exponent = power.as_base_exp()
        whole = exponent.is_Integer and exponent > 0
        if not (whole or isinstance(base, sympy.gamma) or base == u or _positive(base)):
            yield f"{plain(base)} in {plain(side)} may be zero"
