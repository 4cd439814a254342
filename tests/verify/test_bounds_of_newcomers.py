"""A thousand random cells of each mechanism that families make: no error exceeds its bound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import numpy as np
import pytest

from verify.attention import Member, Variant
from verify.conformance.cases import random_cells
from verify.conformance.subject import option_values
from verify.errors import CertificationError
from verify.measure.metrics import computed_error
from verify.mechanisms import known, named_member
from verify.numbers.arithmetic import Arithmetic
from verify.problem import Problem
from verify.truth import Reference, reference

CELLS = 1000

MEMBERS = {
    "power": ("power:degree=2", "power:degree=4"),
    "elu": ("elu",),
    "favor": ("favor:features=2,seed=0", "favor:features=4,seed=1"),
}


def cells(member: Member, seed: int) -> Iterator[tuple[Problem, Arithmetic, Variant]]:
    """Yield random problems in every arithmetic with every form that serves them, and options drawn at random."""
    rng = np.random.default_rng(seed)
    for problem, arithmetic in random_cells(CELLS, seed):
        if member.mechanism.unservable(problem) is not None:
            continue
        for form in member.mechanism.forms:
            if form.serves(problem) is None:
                drawn: list[tuple[str, Any]] = []
                for name, option in form.options.items():
                    values = option_values(option)
                    drawn.append((name, values[int(rng.integers(len(values)))]))
                for variant in dict.fromkeys((Variant(member, form.name), Variant(member, form.name, tuple(drawn)))):
                    yield problem, arithmetic, variant


def exact_value(problem: Problem, member: Member) -> Reference | None:
    """Return the exact value; None where weights cancel to nothing, and there is no value to be near."""
    try:
        return reference(problem, 33, member)
    except CertificationError:
        return None


@pytest.mark.campaign
@pytest.mark.parametrize("name", MEMBERS)
def test_a_thousand_random_cells_stay_under_their_bounds(name: str) -> None:
    counted: Counter[str] = Counter()
    for place, text in enumerate(MEMBERS[name]):
        member = named_member(text)
        wanted = CELLS // len(MEMBERS[name])
        measured = 0
        exact_of = cache(partial(exact_value, member=member))
        for problem, arithmetic, variant in cells(member, 531 + place):
            exact = exact_of(problem)
            if exact is None:
                continue
            bound = variant.rounding_bound(problem, exact.value, arithmetic)
            assert bound is not None
            error = np.abs(computed_error(variant.run(problem, arithmetic).value, exact))
            rows = problem.attended_rows & ~exact.undefined_rows
            over = ~(error <= bound.sure) & np.isfinite(bound.sure)
            assert not over[rows].any(), (variant.name, arithmetic.name, problem.name)
            assert (bound.probable <= bound.sure).all()
            counted["finite"] += bool(np.isfinite(bound.sure[rows]).all())
            counted["tenth"] += bool((error[rows] > bound.sure[rows] / 10).any())
            measured += 1
            if measured == wanted:
                break
        assert measured == wanted
        counted["cells"] += measured
    assert counted["cells"] == CELLS
    # bounds that are infinite hold without saying anything, and so do those that nothing comes near
    assert counted["finite"] > CELLS / 2
    assert counted["tenth"] > CELLS / 10
    assert {form.name for form in known().mechanism(name).forms} >= {"stream"}
