"""The symmetric basis a second time, without the numeric one: derived by sympy, and proved for every d and p."""

from verify.symbolic.expansion import enumerated_monomials, expanded_power
from verify.symbolic.growth import GROWTH
from verify.symbolic.identities import IDENTITIES
from verify.symbolic.minimality import MINIMALITY
from verify.symbolic.proof import VARIABLES, Proof

__all__ = ["PROOFS", "VARIABLES", "Proof", "enumerated_monomials", "expanded_power"]

PROOFS: tuple[Proof, ...] = (*IDENTITIES, *GROWTH, *MINIMALITY)
