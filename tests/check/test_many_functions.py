"""Fifty right functions pass every suite; more than forty wrong ones fail, and most are told the cause."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.check.variants import VARIANTS
from tests.check.wrong import WRONG
from verify.check.judgement import FACTOR, Verdict
from verify.check.run import Asked, Checked, check_function
from verify.isolated.isolation import Target
from verify.testing import AttentionCase, cases

WRONG_FILE = Path(__file__).with_name("wrong.py")

# Mistakes that no problem shows in which 8 queries see 262,144 keys: queries at their own index see 8 of them.
# So are windows, and what is added to logits where a mask is taken: those are cases of other suites.
NOT_SHOWN = {
    *("causal_ignored", "causal_next", "causal_strict", "causal_bottom", "window_wider", "window_narrower"),
    *("window_ignored", "mask_as_booleans", "mask_scaled", "no_maximum"),
}
LONGEST = ("262,144 keys with all", "needle, the last of 262,147 keys")

# What `make test` has time for; `make campaigns` takes all.
SOME_RIGHT = ("direct_both_forwards_forwards", "divide_logarithm", "online_7", "split_5")
SOME_WRONG = ("scale_tenth_off", "causal_next", "heads_tiled", "accumulator_float16", "sink_of_first")


def checked(name: str, suite: str = "quick", left_out: tuple[str, ...] = ()) -> Checked:
    return check_function(Asked(Target(f"{WRONG_FILE}:{name}"), suite, left_out=left_out))


def require_wrong(name: str) -> bool:
    """Require that a wrong function fails, in more than one case; return whether the cause is named."""
    found = checked(name)
    failed = found.of(Verdict.FAILED)
    assert len(failed) > 1, [result.name for result in failed]
    said = WRONG[name][1]
    return said is not None and found.cause is not None and said in found.cause[0]


@pytest.mark.parametrize("name", SOME_WRONG)
def test_some_wrong_functions_fail_with_their_cause(name: str) -> None:
    assert require_wrong(name)


@pytest.mark.parametrize("name", SOME_RIGHT)
def test_some_right_functions_pass(name: str) -> None:
    for case in cases("quick"):
        assert case.verdict(VARIANTS[name]) in (Verdict.PASSED, Verdict.LEFT_OUT)


def test_what_right_and_wrong_functions_have_in_common_is_right() -> None:
    assert checked("right").passed


@pytest.mark.campaign
def test_wrong_functions_fail_with_their_cause() -> None:
    named = [name for name in WRONG if require_wrong(name)]
    assert len(WRONG) >= 40
    assert len(named) >= 28, sorted(set(WRONG) - set(named))
    # what the table promises is kept
    assert {name for name, (_, said) in WRONG.items() if said is not None} == set(named)


@pytest.mark.length
@pytest.mark.parametrize("name", sorted(set(WRONG) - NOT_SHOWN))
def test_no_wrong_function_passes_at_length(name: str) -> None:
    others = tuple(case.case.name for case in cases("long") if str(case) not in LONGEST)
    assert not checked(name, "long", others).passed


@pytest.mark.parametrize(
    ("suite", "every"),
    [
        *(pytest.param(suite, 1, marks=pytest.mark.campaign) for suite in ("full", "sharp", "real")),
        pytest.param("long", 6, marks=pytest.mark.length),  # a call takes seconds there
    ],
)
def test_right_functions_pass(suite: str, every: int) -> None:
    for case in cases(suite):
        for name, function in list(VARIANTS.items())[::every]:
            assert verdict_of(case, name, function) in (Verdict.PASSED, Verdict.LEFT_OUT), (suite, str(case), name)


def verdict_of(case: AttentionCase, name: str, function: object) -> Verdict:
    assert callable(function)
    try:
        return case.verdict(function)
    except AssertionError as error:
        raise AssertionError(f"{name}, allowed {FACTOR:g}: {error}") from None
