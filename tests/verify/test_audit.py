"""The audit finds what is planted: a changed multiplicity, a dropped monomial, order and terms confused, all NaN."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import comb, nan
from typing import Any

import numpy as np
import pytest

from verify.claims.audit import CHECKS
from verify.families import costs as family_costs
from verify.families.polynomial import basis
from verify.mechanisms.softmax import checks as softmax_checks
from verify.mechanisms.softmax import counting as softmax_counting
from verify.mechanisms.taylor import account as operations
from verify.mechanisms.taylor import checks as taylor_checks
from verify.mechanisms.taylor import costs as cost
from verify.mechanisms.taylor import counting
from verify.mechanisms.taylor.account import Parts
from verify.proofs import PROOFS, identities, minimality
from verify.proofs.finding import Check


def changed(values: list[Any]) -> list[Any]:
    return [value + (position == 3) for position, value in enumerate(values)]


def dropped(values: list[Any]) -> list[Any]:
    return values[:2] + values[3:]


def swapped(features: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return features if len(features) < 2 else np.concatenate([features[1::-1], features[2:]])


# check -> module, function, and what is planted around the true one
PLANTED: list[tuple[str, Any, str, Callable[[Any], Any], str]] = [
    (
        "expansion",
        basis,
        "multiplicities",
        lambda true: lambda *a: changed(true(*a)),
        r"at d = 2, p = 3: x1 x1 x1 \(position 3\) has multiplicity 2, and the coefficient 1 in sympy's expansion",
    ),
    (
        "expansion",
        basis,
        "monomial_indices",
        lambda true: lambda *a: dropped(true(*a)),
        "at d = 2, p = 2: x1 x1 of sympy's expansion is missing in the numeric basis",
    ),
    (
        "enumeration",
        basis,
        "monomial_indices",
        lambda true: lambda *a: dropped(true(*a)),
        "at d = 2, p = 2: x1 x1 of sympy's itermonomials is missing",
    ),
    (
        "expansion",
        basis,
        "monomial_indices",
        lambda true: lambda *a: [*true(*a), true(*a)[0]],
        "at d = 1, p = 0: 1 stands at positions 0 and 1",
    ),
    ("expansion", basis, "multiplicities", lambda true: lambda *a: [nan] * len(true(*a)), "has multiplicity nan"),
    (
        "order of the basis",
        basis,
        "monomial_indices",
        lambda true: lambda *a: sorted(true(*a)),
        "at d = 3, p = 2: x0 x2 at position 2, not x1 x1",
    ),
    ("positions", basis, "rank", lambda true: lambda m: true(m) + (len(m) == 4), r"rank\(x0 x0 x0 x0\) is 1, not 0"),
    ("positions", basis, "rank", lambda true: lambda m: nan, "is nan, not 0"),
    ("positions", basis, "unrank", lambda true: lambda i, degree: true(0, degree), r"unrank\(1\) is x0, not x1"),
    ("positions", basis, "multiplicity", lambda true: lambda m: 1, r"multiplicity\(x0 x1\) is 1, not 2"),
    ("positions", basis, "lexicographic_rank", lambda true: lambda m, size: basis.rank(m), "in the paper's order"),
    ("positions", basis, "lexicographic_unrank", lambda true: lambda *a: (), "in the paper's order"),
    (
        "inner product of the numeric features",
        basis,
        "each_degree",
        lambda true: lambda *a: map(swapped, true(*a)),
        "the weighted inner product of two features is",
    ),
    (
        "inner product of the numeric features",
        basis,
        "each_degree",
        lambda true: lambda *a: (features * nan for features in true(*a)),
        "is nan, not",
    ),
    ("alpha_p", basis, "alpha", lambda true: lambda p, d: true(p + 1, d), "at d = 1, p = 1: alpha_p is 1/2, and"),
    (
        "costs",
        cost,
        "feature_count",
        lambda true: lambda d, order: comb(d + order + 1, order + 1),
        "at d = 1, d_v = 1, order 0: features is 2 by the cost functions, 1 by counting",
    ),
    ("costs", cost, "feature_count", lambda true: lambda *a: nan, "numbers nan; expected an integer"),
    ("costs", cost, "degree_feature_count", lambda true: lambda d, p: true(d, p + 1), "degree_features is"),
    ("costs", cost, "dense_feature_count", lambda true: lambda d, N: d**N, "dense_features is 1 by"),
    ("costs", cost, "state_size", lambda true: lambda d, N, v: (v or d) * comb(d + N, N), "functions, 1 by counting"),
    ("costs", cost, "flops_per_token", lambda true: lambda d, N, v: true(d, N + 1, v), "flops_per_token is"),
    ("costs", cost, "flops_per_token", lambda true: lambda *a: nan, "numbers nan; expected an integer"),
    ("ranks at random points", minimality, "rank_of", lambda true: lambda rows: true(rows) - 1, "has rank 0 at random"),
    (
        "operations of Taylor attention",
        operations,
        "as_own_pairs",
        lambda true: lambda d, N, v, c: true(d, N, v, c + 1),
        "own pairs of a chunk of 1",
    ),
    ("costs", cost, "state_size", lambda true: lambda d, N, v=None: true(d, N, v or 1), "state_elements"),
    (
        "lists of monomials",
        basis,
        "lexicographic_rank",
        lambda true: lambda m, d: true(m, d) + (len(m) > 3),
        r"x0 x0 x0 x0 is listed with \(0, 1, 1\), not \(0, 0, 1\)",
    ),
    ("expansion", basis, "_FIRST_BEYOND_INT64", lambda true: 40, "p = 24|p = 21"),
    ("conventional costs", softmax_checks, "stored_bytes", lambda true: lambda n, f: n // 8 * f.width, "take 8 bytes"),
    ("costs", family_costs, "kv_cache_size", lambda true: lambda *a: 1, "kv_break_even is"),
    ("costs", family_costs, "conventional_flops_per_token", lambda true: lambda *a: 7, "flop_break_even is"),
    ("costs", family_costs, "script_flops_per_token", lambda true: lambda *a: 5, "flop_break_even_script is"),
    ("costs", family_costs, "nearest", lambda true: lambda a, b: a // b, "break_even"),
    ("conventional costs", softmax_checks, "kv_cache_size", lambda true: lambda *a: nan, "cache nan, not 2"),
    (
        "conventional costs",
        softmax_checks,
        "logexp_state_size",
        lambda true: lambda d, v: d * v,
        "log-exp state 1, not 2",
    ),
    (
        "conventional costs",
        softmax_checks,
        "script_flops_per_token",
        lambda true: lambda n, d: 4 * n * d,
        "by the script 4, not 6",
    ),
    (
        "conventional costs",
        softmax_checks,
        "stored_bytes",
        lambda true: lambda n, f: true(2 * n, f),
        "take 8 bytes, not 16",
    ),
    (
        "heads at fixed width",
        taylor_checks,
        "multihead_cost",
        lambda true: lambda w, head: true(2 * w, head),
        "at width 24, d = 2",
    ),
    (
        "operations of Taylor attention",
        operations,
        "as_packed",
        lambda true: lambda *a: Parts(*(part + part for part in true(*a).in_order())),
        "features of q and k of the packed form: counted",
    ),
    (
        "operations of Taylor attention",
        operations,
        "charged",
        lambda true: lambda *a: Parts(nan, nan, nan),
        "do not add up to 6820",
    ),
    (
        "operations of Taylor attention",
        counting,
        "published_parts",
        lambda true: counting.packed_parts,
        "of the method as published: counted",
    ),
    (
        "operations of conventional attention",
        softmax_counting,
        "softmax_operations",
        lambda true: lambda n, d, v: true(n + 1, d, v),
        "counted",
    ),
]


@pytest.mark.parametrize(
    ("check", "module", "name", "planted", "message"), PLANTED, ids=[f"{p[2]}-{i}" for i, p in enumerate(PLANTED)]
)
def test_what_is_planted_is_found_and_named(
    check: str, module: Any, name: str, planted: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, planted(getattr(module, name)))
    found = named(check).finding()
    assert found.difference is not None
    assert re.search(message, found.difference), found.difference


def named(name: str) -> Check:
    (check,) = (check for check in CHECKS if check.name == name)
    return check


def test_code_that_raises_is_a_finding_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basis, "multiplicities", lambda *a: 1 // 0)
    assert named("expansion").finding().difference == "ZeroDivisionError: integer division or modulo by zero"


# what an argument is tried with -> the proofs that rest on it
ARGUMENTS: list[tuple[str, Any, str, Callable[[Any], Any]]] = [
    ("number of monomials", identities, "listed", lambda true: lambda d, p: true(d, p)[: p + 1]),
    ("number of monomials, again", identities, "listed", lambda true: lambda d, p: true(d, p)[: p + 1]),
    ("multiplicities", identities, "factorial", lambda true: lambda n: true(n) + (n == 3)),
    ("inner product", identities, "factorial", lambda true: lambda n: true(n) + (n == 3)),
    ("inner product", identities, "_numbers", lambda true: lambda d: ([nan] * d, [nan] * d)),
    ("minimality of one degree", minimality, "gram_rank", lambda true: lambda *a: true(*a) - 1),
    ("minimality of one degree", minimality, "rank_of", lambda true: lambda rows: true(rows) - 1),
    ("minimality of one degree", minimality, "node", lambda true: lambda m: len(m)),
    ("minimality of one degree", minimality, "weight", lambda true: lambda m, *a: true(m, *a) * (len(set(m)) > 1)),
    ("minimality of all degrees", minimality, "weight", lambda true: lambda m, *a: true(m, *a) * (len(m) < 2)),
    ("minimality of all degrees", minimality, "monomials", lambda true: lambda d, p: true(d, p)[1:]),
    ("rank of the log-exp kernel", minimality, "gram_rank", lambda true: lambda *a: nan),
]


@pytest.mark.parametrize(
    ("proof", "module", "name", "planted"), ARGUMENTS, ids=[f"{a[0]}-{a[2]}-{i}" for i, a in enumerate(ARGUMENTS)]
)
def test_an_argument_with_a_contradicting_case_proves_nothing(
    proof: str, module: Any, name: str, planted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, planted(getattr(module, name)))
    (found,) = (candidate.finding() for candidate in PROOFS if candidate.name == proof)
    assert not found.holds
    assert found.scope == "not proved"
