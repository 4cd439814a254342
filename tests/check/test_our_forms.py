"""Our own forms, put to the suites as if they were somebody's functions.

The standard is made of these very forms: one that is held against itself passes, and that shows only that it is called
as a function is, refuses nothing it should do, and answers in the right type.  So each is held against the others alone
too, and against the floor.  What then fails is what only that form loses, looked into one by one:

- a state of random features times values near the largest number overflows, and weights by pairs do not; signed
  logarithms of values near either end of the range have few digits left after the point;
- a row that sees few keys, all of weights near zero, has them from features that cancel (`power` at logits near zero):
  by pairs they are small numbers with all their digits;
- random features in 16 bits are less exact than the floor, which knows logits alone; where no other form serves a mask
  or some rows of a problem, there is nothing but the floor.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.check.forms import function_of
from verify import logexp_attention, softmax_attention, taylor_attention
from verify.attention.contract import Member
from verify.attention.variant import Variant
from verify.check import checking, judgement
from verify.check.judgement import Verdict
from verify.errors import InvalidRequestError
from verify.mechanisms import named_member, named_variant
from verify.mechanisms.registry import SHIPPED, known
from verify.numbers.arithmetic import Arithmetic
from verify.problem import Problem
from verify.testing import assert_attention_close, cases

CHOSEN = {"taylor": "taylor:order=2", "power": "power:degree=2", "favor": "favor:features=16"}
FORMS = [f"{CHOSEN.get(name, name)}/{form.name}" for name in SHIPPED for form in known().mechanism(name).forms]
MIXED = "bfloat16+float32"

# Cases that a form fails where the others and the floor are all that it is held against.
ALONE = {
    ("logexp/linear", "float32"): {"huge v", "tiny v"},
    ("power:degree=2/stream", "float32"): {
        "causal",
        "causal, few queries",
        "causal, many queries",
        "given scale, causal",
        "grouped heads, causal",
    },
    ("favor:features=16/stream", "float32"): {"huge v"},
    ("favor:features=16/stream", MIXED): {"huge v"},
    ("favor:features=16/pairs", MIXED): {
        *("no chunk fits", "mask", "mask, grouped heads", "empty rows", "window", "window, causal"),
    },
}


def outcomes(name: str, arithmetic: str, suite: str) -> dict[str, Verdict]:
    """Return what becomes of a form in each case; what it refuses is left out."""
    variant, found = named_variant(name), {}
    for case in cases(suite):
        try:
            found[str(case)] = case.verdict(
                function_of(variant, arithmetic), mechanism=variant.member, arithmetic=arithmetic
            )
        except AssertionError as error:
            refused = "raised InvalidRequestError" in str(error) or "raised TooLargeError" in str(error)
            found[str(case)] = Verdict.LEFT_OUT if refused else Verdict.FAILED
    return found


def failed(found: dict[str, Verdict]) -> set[str]:
    return {name for name, verdict in found.items() if verdict == Verdict.FAILED}


def without(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a form be no part of what outputs are held against."""

    def others(problem: Problem, member: Member, arithmetic: Arithmetic) -> list[NDArray[Any]]:
        variants = [Variant(member, own.name) for own in member.mechanism.forms if own.name != form]
        return [v.run(problem, arithmetic).value for v in variants if v.refusal(problem) is None]

    monkeypatch.setattr(judgement, "_conventional", others)
    monkeypatch.setattr(checking, "_KEPT", {})


@pytest.mark.parametrize("name", ["softmax/online", "elu/stream"])
def test_some_forms_are_right_by_the_others(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without(name.partition("/")[2], monkeypatch)
    found = outcomes(name, "float32", "sharp")
    assert failed(found) == set()
    assert Verdict.PASSED in found.values()


@pytest.mark.length
@pytest.mark.parametrize("arithmetic", ["float32", MIXED])
@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_right_by_the_others_but_where_it_alone_loses(
    name: str, arithmetic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        without(name.partition("/")[2], patched)
        found = outcomes(name, arithmetic, "quick")
    assert failed(found) == ALONE.get((name, arithmetic), set())
    assert Verdict.PASSED in found.values()
    # and by the rule as it stands, which has the form in it, those pass too, or cannot be decided
    variant = named_variant(name)
    for case in cases("quick"):
        if str(case) in failed(found):
            how = {"mechanism": variant.member, "arithmetic": arithmetic}
            assert case.verdict(function_of(variant, arithmetic), **how) != Verdict.FAILED


def test_where_a_form_of_ours_overflows_nobody_is_asked_for_more() -> None:
    """Sums of weights times huge values overflow in some orders of summation and not in others."""
    (huge,) = (case for case in cases("quick") if str(case) == "huge v")
    how = {"mechanism": "power:degree=2", "arithmetic": "float32"}
    for form in ("scores", "packed", "dense"):
        own = function_of(named_variant(f"power:degree=2/{form}"), "float32")
        assert huge.verdict(own, **how) == Verdict.PASSED

    def lost(q: Any, k: Any, v: Any) -> Any:
        return np.full((*q.shape[:-1], v.shape[-1]), np.nan, q.dtype)

    with pytest.raises(AssertionError, match="not finite"):
        huge.verdict(lost, **how)


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("mechanism", "function"),
    [
        ("softmax", partial(softmax_attention, arithmetic="float32")),
        ("logexp", partial(logexp_attention, arithmetic="float32")),
        ("taylor:order=2", partial(taylor_attention, order=2, arithmetic="float32")),
    ],
)
def test_the_functions_of_the_package_are_called_as_they_are(mechanism: str, function: Any) -> None:
    assert_attention_close(function, suite="sharp", mechanism=mechanism)


@pytest.mark.campaign
def test_options_of_forms_which_the_standard_has_not() -> None:
    for name in ("elu/stream:chunk=5,compensated=yes", "taylor:order=2/packed:side=both,degrees=apart"):
        assert failed(outcomes(name, "float32", "sharp")) == set(), name


def test_a_form_of_another_member_is_told_apart() -> None:
    found = function_of(named_variant("taylor:order=3/scores"), "float32")
    with pytest.raises(AssertionError, match="rows are off"):
        assert_attention_close(found, suite="sharp", mechanism=named_member("taylor:order=2"))


def test_what_a_form_does_not_serve_it_refuses() -> None:
    q = np.ones((1, 1, 4, 4), np.float32)
    with pytest.raises(InvalidRequestError):
        function_of(named_variant("elu/stream"), "float32")(q, q, q, attn_mask=np.eye(4, dtype=bool))
