"""The basis read off from polynomials that sympy makes: nothing here knows how the numeric basis is ordered."""

from __future__ import annotations

import sympy
from sympy.polys.monomials import itermonomials


def expanded_power(head_size: int, degree: int) -> dict[tuple[int, ...], int]:
    """Return the monomials of (q_0 k_0 + ... + q_{d-1} k_{d-1})^p, exponents -> coefficient, as sympy expands it.

    SA (5) and (8): the keys are the symmetric basis of degree p and the coefficients its multiplicities.
    """
    products = sympy.symbols(f"x0:{head_size}")  # x_i stands for q_i k_i
    polynomial = sympy.Poly(sympy.Add(*products) ** degree, *products)
    return {exponents: int(coefficient) for exponents, coefficient in polynomial.terms()}


def enumerated_monomials(head_size: int, degree: int) -> set[tuple[int, ...]]:
    """Return the exponents of all monomials of a degree, as sympy's itermonomials enumerates them. SA (7)."""
    variables = sympy.symbols(f"x0:{head_size}")
    monomials = itermonomials(variables, degree, degree)
    return {sympy.Poly(monomial, *variables).monoms()[0] for monomial in monomials}
