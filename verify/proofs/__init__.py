"""The symmetric basis a second time, without the numeric one: derived by sympy, and proved for every d and p."""

from verify.proofs.expansion import enumerated_monomials, expanded_power
from verify.proofs.growth import GROWTH
from verify.proofs.identities import IDENTITIES
from verify.proofs.minimality import MINIMALITY
from verify.proofs.proof import VARIABLES, Proof

__all__ = ["PROOFS", "VARIABLES", "Proof", "enumerated_monomials", "expanded_power"]

PROOFS: tuple[Proof, ...] = (*IDENTITIES, *GROWTH, *MINIMALITY)
