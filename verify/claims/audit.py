"""Everything that is known about mechanisms and their costs, proved or checked, as findings one by one.

The numeric basis and the cost functions are under test: they are compared with what sympy derives, with lists made by
the standard library, with exact integers, and with operations counted while the formulations run.
"""

from __future__ import annotations

from collections.abc import Iterator

from verify.families.polynomial.checks import CHECKS as OF_POLYNOMIALS
from verify.mechanisms.softmax.checks import CHECKS as OF_SOFTMAX
from verify.mechanisms.taylor.account import Account
from verify.mechanisms.taylor.checks import ACCOUNT
from verify.mechanisms.taylor.checks import CHECKS as OF_TAYLOR
from verify.mechanisms.taylor.counting import account
from verify.proofs import PROOFS
from verify.proofs.finding import Finding

__all__ = ["CHECKS", "Account", "findings", "operations_of_one_token"]

CHECKS = (*OF_POLYNOMIALS, *OF_TAYLOR, *OF_SOFTMAX)


def findings() -> Iterator[Finding]:
    """Yield what became of every proof, then of every check against independent accounts."""
    for proof in PROOFS:
        yield proof.finding()
    for check in CHECKS:
        yield check.finding()


def operations_of_one_token() -> Account:
    """Return the operations of one token of Taylor attention, part by part, for the case that is printed."""
    return account(*ACCOUNT)
