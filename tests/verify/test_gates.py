"""Public acceptance rules, the functions they have to reject, and which of those they let through."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
from numpy.typing import ArrayLike

from tests.cases import EXTREME, PROBLEMS
from verify.errors import InvalidRequestError
from verify.gates import impostors as family
from verify.gates.case import Case
from verify.gates.gold import float64_attention
from verify.gates.impostors import WINDOW, impostors
from verify.gates.judged import Trial, judged, steps
from verify.gates.rules import RULES, Source, close_to_plain, excused, matched, multiple
from verify.inputs import SyntheticInput
from verify.numbers.arithmetic import ARITHMETICS
from verify.numbers.arrays import Float64Array
from verify.numbers.formats import FORMATS
from verify.problem import Problem
from verify.truth import reference

BFLOAT16 = ARITHMETICS["bfloat16+float32"]
NOTHING = Problem(np.zeros((2, 1)), np.zeros((1, 1)), np.zeros((1, 2)))


def case(found: ArrayLike, exact: ArrayLike, plain: ArrayLike, arithmetic: str = "bfloat16+float32") -> Case:
    """A case of two by two outputs, every number of which is one of the format unless it is NaN."""
    found, exact, plain = (np.broadcast_to(np.asarray(x, dtype=np.float64), (2, 2)) for x in (found, exact, plain))
    return Case(NOTHING, exact, found, plain, ARITHMETICS[arithmetic])


@pytest.mark.parametrize(
    ("rule", "most", "more", "exact", "plain"),
    [
        # |found - plain| <= 1e-2 + 1e-2 |found|: up to 1/99 more than 1, which 257/256 is, and 259/256 is not
        ("kernelbench", 1 + 2 / 256, 1 + 6 / 256, 5.0, 1.0),
        # 1e-2 of 1 is exceeded by both kinds of error at once only
        ("flashinfer-bench", 1.0078125, 1.015625, 1.0, 9.0),
        ("flashinfer-bench", 2.0**-6 - 2.0**-7, 2.0**-6 + 2.0**-6, 2.0**-6, 9.0),
        ("fla-ci", 1.296875, 1.3046875, 1.0, 9.0),
        ("flash-attention", 1.015625, 1.0234375, 1.0, 1.0078125),
        ("torch-sdpa-4", 1.03125, 1.0390625, 1.0, 1.0078125),
        ("torch-sdpa", 1.0390625, 1.046875, 1.0, 1.0078125),
        ("torch-sdpa-4", 1 + 2.0**-17, 1 + 2.0**-16, 1.0, 1.0),
        ("torch-sdpa-before", 1.015625, 1.0625, 1.0, 1.0078125),
        ("flex-attention", 1.0078125, 1.015625, 1.0, 1.0078125),
        ("assert-close", 1.015625, 1.0234375, 1.0, 9.0),
        ("flash-mla", 1.0, 1.0078125, 1.0, 9.0),
    ],
)
def test_a_rule_accepts_what_it_allows_and_no_more(
    rule: str, most: float, more: float, exact: float, plain: float
) -> None:
    assert RULES[rule].accepts(case(most, exact, plain))
    assert not RULES[rule].accepts(case(more, exact, plain))


def test_one_element_of_four_is_too_many_and_one_of_forty_is_not() -> None:
    exact = np.ones((4, 10))
    off = exact.copy()
    off[0, :2] = 2.0
    forty = replace(case(0, 0, 0), exact=exact, found=off, plain=exact)
    assert RULES["flashinfer-95"].accepts(forty)
    assert not RULES["flashinfer-bench"].accepts(forty)
    off = off.copy()
    off[1, 0] = 2.0
    assert not RULES["flashinfer-95"].accepts(replace(forty, found=off))


def test_tolerances_follow_the_type_of_the_output() -> None:
    small = 1 + 2.0**-11  # 4.9e-4 from 1
    for rule, accepting in (("kernelbench", {"float16+float32"}), ("assert-close", {"float16+float32"})):
        for arithmetic in ("float32", "float16+float32"):
            answer = case(small, 1.0, 1.0, arithmetic)
            assert RULES[rule].accepts(answer) == (arithmetic in accepting)
    assert RULES["flex-attention"].accepts(case(1 + 2.0**-20, 1.0, 1 + 2.0**-23, "float32"))
    assert not RULES["flex-attention"].accepts(case(1 + 2.0**-19, 1.0, 1 + 2.0**-23, "float32"))


def test_a_relative_tolerance_by_the_element_next_to_zero_accepts_zeros() -> None:
    exact = np.array([[1.0, 2.0], [3.0, 2.0**-20]])
    plain = exact.copy()
    plain[1, 1] *= 2.0  # off by itself, which is 1e-6
    assert RULES["torch-sdpa-before"].accepts(case(0.0, exact, plain))
    assert not RULES["torch-sdpa-before"].accepts(case(0.0, exact, exact))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_every_rule_rejects_an_answer_without_a_number(rule: str, value: float) -> None:
    one = np.array([[1.0, 1.0], [1.0, value]])
    for found in (np.array(value), one):
        assert not RULES[rule].accepts(case(found, 1.0, 1.0))


def test_nan_beside_nan_of_a_plain_run_is_accepted_by_some() -> None:
    """Where a plain run overflows these rules compare nothing."""
    lost = case(np.nan, 1.0, np.nan)
    assert {name for name, rule in RULES.items() if rule.accepts(lost)} == {"torch-sdpa-4", "torch-sdpa"}


def test_every_rule_says_where_it_stands() -> None:
    for name, rule in RULES.items():
        assert name == rule.name
        assert rule.source.confirmed
        assert all((rule.words, rule.source.project, rule.source.place, rule.source.version))
    assert Source("A", "b.py", "1", confirmed=False).text == "A, b.py, 1 (as reported)"


def dense(problem: Problem, name: str) -> Float64Array:
    """What an impostor is, head by head and row by row."""
    found = np.zeros(problem.output_shape)
    for head in problem.each_head():
        seen = head.attended()
        for row, logits in enumerate(head.logits()):
            keys = np.flatnonzero(seen[row])
            if not keys.size or name == "zeros":
                continue
            s = logits[keys] - (0.0 if name.startswith("order") else logits[keys].max())
            if name == "window-64":
                apart = head.attendance.places[keys] - head.attendance.positions[row]
                chosen = sorted(range(len(keys)), key=lambda t: (abs(apart[t]), apart[t]))[:WINDOW]
                keys, s = keys[chosen], s[chosen]
            weights = {
                "mean-of-v": np.ones_like(s),
                "order-1": 1 + s,
                "order-3": 1 + s + s**2 / 2 + s**3 / 6,
                "top-key": (np.arange(len(s)) == s.argmax()).astype(float),
                "scale-10": np.exp(1.1 * s),
            }.get(name, np.exp(s))
            with np.errstate(all="ignore"):
                found[head.index][row] = weights @ head.v[keys] / weights.sum()
    return found


def long() -> Problem:
    q, k, v = np.random.default_rng(15).standard_normal((3, 150, 3))
    return Problem(q, k, v, causal=True, name="causal, beyond the window")


@pytest.mark.parametrize("problem", [*PROBLEMS, long()], ids=lambda problem: problem.name)
@pytest.mark.parametrize("name", [name for name in impostors() if not name.endswith("sums")])
def test_impostors_are_what_they_are_called(name: str, problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = impostors()[name].compute(problem)
    size = np.abs(problem.v).max()
    np.testing.assert_allclose(whole, dense(problem, name), rtol=1e-9, atol=1e-12 * size)
    monkeypatch.setattr(family, "PAIRS", 1)
    np.testing.assert_allclose(impostors()[name].compute(problem), whole, rtol=1e-12, atol=1e-13 * size)


def test_sums_in_float8_stay_where_a_tile_is_half_a_step() -> None:
    keys = 4096  # equal weights and values of 1: numerators grow by 128 until that is half of a step, a tie to even
    equal = Problem(np.zeros((1, 1)), np.zeros((keys, 1)), np.ones((keys, 1)))
    assert impostors()["float8_e5m2-sums"].compute(equal).item() == 1024 / keys
    assert np.isnan(impostors()["float8_e4m3fn-sums"].compute(equal).item())  # beyond 448
    few = Problem(np.zeros((1, 1)), np.zeros((16, 1)), np.ones((16, 1)))
    for name in ("float8_e4m3fn-sums", "float8_e5m2-sums"):
        assert impostors()[name].compute(few).item() == 1.0


def test_sums_in_float8_are_numbers_of_the_format() -> None:
    problem = long()
    for name in ("float8_e4m3fn", "float8_e5m2"):
        found = impostors()[f"{name}-sums"].compute(problem)
        logits = np.where(np.tri(150, dtype=bool), problem.q @ problem.k.T / np.sqrt(3), -np.inf)
        total = np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True)
        sums = found * total
        nearest = FORMATS[name].rounded(sums).astype(np.float64)
        np.testing.assert_allclose(sums, nearest, rtol=1e-12)


@pytest.mark.parametrize("problem", [*PROBLEMS, *EXTREME, long()], ids=lambda problem: problem.name)
def test_float64_is_as_far_off_as_it_says_and_no_more(problem: Problem) -> None:
    exact = reference(problem, 30)
    value, bound = float64_attention(problem)
    with np.errstate(invalid="ignore"):
        off = np.abs((value - exact.value) - exact.residual) + exact.radius
    assert ((off <= bound) | (bound == np.inf)).all()
    if problem in PROBLEMS:
        # far below what rules compare, for logits up to 300
        assert (bound <= 1e-11 * np.abs(problem.v).max() + 1e-300).all()


def trial(tokens: int, **more: object) -> Trial:
    named = {name: more.pop(name) for name in ("arithmetic", "queries") if name in more}
    return Trial(SyntheticInput("normal", 16, tokens, causal=False, **more), **named)  # type: ignore[arg-type]


def test_what_passes_at_65536_keys_passes_at_1024_with_eight_times_the_tolerance() -> None:
    """Outputs shrink with the root of the number of keys, and tolerances do not."""
    scaled = partial(close_to_plain, tolerance={"bfloat16": (8e-2, 1e-2)})
    rule = replace(RULES["kernelbench"], decides=scaled)
    chosen = [impostors()[name] for name in ("order-3", "mean-of-v", "zeros")]
    inputs = [SyntheticInput("normal", 64, n, causal=False) for n in (128, 1024, 8192)]
    few, some, many = (judged(Trial(one), [rule], chosen).accepted(rule.name) for one in inputs)
    assert few == []
    assert [answer.impostor for answer in some] == ["order-3"]
    assert [answer.impostor for answer in many] == ["zeros", "mean-of-v", "order-3"]
    assert 0.15 < some[0].error < 0.3


def test_zeros_pass_the_rule_of_continuous_integration() -> None:
    rules = [RULES["fla-ci"], RULES["flash-attention"]]
    # the exact output of 64 queries is above 0.3 somewhere below some hundred keys
    for tokens in (2048, 4096):
        found = judged(trial(tokens), rules, [*impostors().values()])
        assert found.accepted("fla-ci")[0].impostor == "zeros"
        assert found.accepted("fla-ci")[0].error == 1.0
        assert found.accepted("flash-attention") == []
        assert found.correct == {"fla-ci": True, "flash-attention": True}


def test_a_weakened_rule_is_caught() -> None:
    twice = RULES["flash-attention"]
    weak = replace(twice, name="weak", decides=partial(multiple, factor=200.0, added=1e-5))
    loose = replace(RULES["fla-ci"], name="loose", decides=partial(excused, excuse=0.0, ratio=0.5, least=1e-6))
    half = replace(
        RULES["flashinfer-bench"], name="half", decides=partial(matched, absolute=0.1, relative=0.0, share=0.5)
    )
    found = judged(trial(256), [twice, weak, loose, half], [*impostors().values()])
    assert found.accepted(twice.name) == []
    for name in ("weak", "loose", "half"):
        assert found.accepted(name)
        assert all(answer.error > found.trial.limit for answer in found.accepted(name))


SOMEBODY = Source("somebody", "theirs.py", "1")


@dataclass(frozen=True)
class AtMost:
    """A rule of somebody else's: a relative error of at most so much, whatever the size of the outputs."""

    error: float
    name: str
    words: str = "a relative error of at most so much"
    source: Source = SOMEBODY

    def accepts(self, case: Case) -> bool:
        return case.error <= self.error


def test_any_rule_with_accepts_takes_part() -> None:
    found = judged(trial(512), [AtMost(1e-2, "tight"), AtMost(0.3, "at-most")], [*impostors().values()])
    assert found.accepted("tight") == []
    assert {answer.impostor for answer in found.accepted("at-most")} >= {"scale-10"}
    assert max(answer.error for answer in found.accepted("at-most")) <= 0.3


def test_what_is_as_good_as_correct_does_not_count() -> None:
    """At logits of next to nothing the mean of v is the answer, and whoever accepts it is right."""
    found = judged(trial(512, logit_std=1e-3), [*RULES.values()], [impostors()["mean-of-v"]])
    (answer,) = found.answers
    assert answer.error < 2e-3
    assert "flash-attention" in answer.accepted_by
    assert all(found.accepted(name) == [] for name in RULES)


def test_what_a_plain_run_with_16_bit_sums_excuses() -> None:
    """Twice the error of a run that is wrong itself is no demand."""
    found = judged(trial(2048, arithmetic="bfloat16", queries=8), [*RULES.values()], [impostors()["zeros"]])
    assert found.plain_error > found.trial.limit
    assert [answer.impostor for answer in found.accepted("flash-attention")] == ["zeros"]
    assert set(found.correct.values()) == {None}


def test_progress_is_told_as_often_as_it_says() -> None:
    told: list[str] = []
    chosen = [impostors()["zeros"], impostors()["top-key"]]
    judged(trial(70), [], chosen, progress=told.append)
    assert len(told) == steps(chosen)
    assert told[-1] == "top-key"


def test_a_trial_has_so_many_rows_and_numbers_of_its_format() -> None:
    problem = trial(70, queries=9).load()
    assert problem.output_shape == (9, 16)
    for array in (problem.q, problem.k, problem.v):
        np.testing.assert_array_equal(FORMATS["bfloat16"].rounded(array).astype(np.float64), array)
    assert trial(5, queries=9).load().output_shape == (5, 16)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"arithmetic": "float64"}, "with outputs in float64; expected outputs in"),
        ({"arithmetic": "nosuch"}, "unknown arithmetic 'nosuch'"),
        ({"queries": 0}, "queries 0; expected an integer of at least 1"),
    ],
)
def test_a_trial_that_makes_no_sense_is_refused(more: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        trial(8, **more)


def test_causal_and_large_inputs_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="expected an input that is not causal; end it with ,full"):
        Trial(SyntheticInput("normal", 4, 8))
    with pytest.raises(InvalidRequestError, match=r"expected at most 33,554,432 numbers in q"):
        Trial(SyntheticInput("normal", 64, 1 << 20, causal=False))
