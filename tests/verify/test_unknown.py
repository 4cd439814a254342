"""A mechanism that is entered by half is refused wherever it has no account of its own: it is never softmax."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from verify.attention import named_form
from verify.bounds import rounding_bound
from verify.errors import InvalidRequestError
from verify.measure.decomposition import Decomposer, Truths
from verify.measure.weights import compare_weights
from verify.numbers.arithmetic import ARITHMETICS
from verify.problem import Problem
from verify.truth import defined_attention, mechanisms, reference
from verify.truth.rational import rational_attention

PROBLEM = Problem(*np.random.default_rng(4).standard_normal((3, 3, 2)))

PLACES: dict[str, Callable[[], object]] = {
    "balls": lambda: reference(PROBLEM, 15, "elu"),
    "mpmath": lambda: defined_attention(PROBLEM, mechanism="elu"),
    "rationals": lambda: list(rational_attention(PROBLEM, 60, "elu")),
    "weights": lambda: compare_weights(PROBLEM, "elu", None),
    "decomposition": lambda: Decomposer(Truths(PROBLEM, ()), Truths(PROBLEM, ())).gaps("elu", None),
    "bound": lambda: rounding_bound(PROBLEM, reference(PROBLEM, 15), "linear", ARITHMETICS["float32"]),
    "form": lambda: named_form("elu", "softmax"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_mechanism_without_an_account_is_refused(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mechanisms, "MECHANISMS", (*mechanisms.MECHANISMS, "elu"))
    with pytest.raises(InvalidRequestError, match="mechanism"):
        PLACES[place]()
