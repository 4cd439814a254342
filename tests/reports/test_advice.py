"""Recommendations as they are printed, for mechanisms with and without costs, proposals and more parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from reports.advice import advice_table, overall_text, recommended_answer
from reports.sentence import answered
from tests.reports.running import rows
from verify.attention.cost import Cost
from verify.problem import Problem
from verify.recommend import Advice, Recommendation, recommend


def advice(**changed: Any) -> Advice:
    known: dict[str, Any] = {
        "head": None,
        "value": 17,
        "guaranteed": None,
        "measured": 4.7e-3,
        "best": 17,
        "labels": {"order": 17, "terms": 18},
        "largest_logit": 7.62,
        "rows": 512,
        "nonpositive_rows": 219,
        "nonpositive_found": 0,
        "fails_again": None,
        "errors": (2.0, 4.7e-3),
        "softmax": None,
        "cost": None,
    }
    return Advice(**known | changed)


def recommendation(overall: Advice, **changed: Any) -> Recommendation:
    known: dict[str, Any] = {
        "input": "x.npz",
        "head_size": 32,
        "value_size": 32,
        "mechanism": "any",
        "axis": "order",
        "metric": "relative",
        "tolerance": 1e-2,
        "arithmetic": None,
        "form": None,
        "largest": 20,
        "values": (3, 17),
        "members": ("any:order=3", "any:order=17"),
        "left_out": "",
        "proposed": 3,
        "overall": overall,
        "per_head": (),
        "member": "any:order=17",
        "cost": Cost(6545, 215985, 902020),
        "memory_context": 3375,
        "flop_context": 6886,
        "shared_state": None,
        "own_state": None,
        "states": (None, 215985),
        "max_state": None,
        "reason": "",
    }
    return Recommendation(**known | changed)


def test_an_order_with_its_costs() -> None:
    found = recommendation(advice(fails_again=19), per_head=(advice(head=(1,), value=None, best=12),))
    head, overall = rows(advice_table(found))
    assert list(overall.items()) == [
        ("head", "all"),
        ("largest |logit|", "7.62"),
        ("order", "17"),
        ("terms", "18"),
        ("guaranteed order", "none up to 20"),
        ("relative", "4.7e-03"),
        ("at order", "17"),
        ("misses again at", "19"),
        ("Z <= 0 there", "0 of 512"),
        ("Z <= 0 at order 3", "219 of 512"),
    ]
    assert (head["head"], head["order"], head["terms"], head["at order"]) == ("1", "none up to 20", "", "12")
    assert overall_text(found).splitlines() == [
        "order 17 (18 terms), for each head: 6,545 features, a state of 215,985 numbers, 902,020 FLOPs per token",
        "it pays from 3,375 tokens in memory and from 6,886 tokens in FLOPs per token",
        "more is not always better: order 19 misses the tolerance again",
        "no order up to 20 is guaranteed: the bounds on its errors exceed the tolerance",
    ]


def test_what_is_unknown_is_left_out() -> None:
    labels = {"features": 64, "seed": 0}
    overall = advice(value=64, best=64, guaranteed=64, labels=labels, nonpositive_rows=None)
    found = recommendation(overall, axis="features", proposed=None, member="any:features=64,seed=0")
    (row,) = rows(advice_table(found))
    assert (row["features"], row["seed"], row["guaranteed features"]) == ("64", "0", "64")
    assert list(row)[-1] == "Z <= 0 there"
    assert overall_text(found).startswith("features 64 (seed 0), for each head: 6,545 features, a state of")
    partly = recommendation(advice(guaranteed=17), cost=Cost(None, 99, None), flop_context=None)
    assert overall_text(partly).splitlines() == [
        "order 17 (18 terms), for each head: a state of 99 numbers",
        "it pays from 3,375 tokens in memory",
    ]
    least = advice(value=0, guaranteed=0, labels={"order": 0, "terms": 1})
    assert overall_text(recommendation(least, cost=Cost(1, 2, 1), memory_context=1, flop_context=1)).splitlines() == [
        "order 0 (terms 1), for each head: 1 feature, a state of 2 numbers, 1 FLOP per token",
        "it pays from 1 token in memory and from 1 token in FLOPs per token",
    ]
    bare = advice(guaranteed=17, labels={"order": 17})
    nothing = recommendation(bare, cost=None, memory_context=None, flop_context=None)
    assert overall_text(nothing) == "order 17"


def test_none_is_enough() -> None:
    found = recommendation(advice(value=None, best=4), member=None, cost=None, reason="too wide")
    assert overall_text(found) == "no order up to 20 is enough: too wide"


def test_recommendations_are_shown_as_they_come() -> None:
    q, k, v = np.random.default_rng(5).standard_normal((3, 2, 6, 3))
    problem = Problem(0.3 * q, k, v)
    for mechanism, axis in (("taylor", "order"), ("power", "degree"), ("favor", "features")):
        found = recommend(problem, 0.5, mechanism=mechanism, largest=4)
        shown = rows(advice_table(found))
        assert [row["head"] for row in shown] == ["0", "1", "all"]
        assert all({"largest |logit|", axis, "relative", f"at {axis}"} <= set(row) for row in shown)
        assert axis in overall_text(found)


def test_what_speaks_against_a_value_is_said() -> None:
    far = recommendation(advice(guaranteed=17), memory_context=10**22, flop_context=2 * 10**22)
    assert "it pays nowhere below 10^9 tokens" in overall_text(far)
    partly = recommendation(advice(guaranteed=17), memory_context=99, flop_context=2 * 10**22)
    assert "it pays from 99 tokens in memory and nowhere below 10^9 tokens in FLOPs per token" in overall_text(partly)
    lost = recommendation(advice(guaranteed=17, nonpositive_found=3))
    assert "3 of 512 rows have weights that sum to zero or less" in overall_text(lost)
    coarse = recommendation(advice(softmax=0.02), arithmetic="float16", tolerance=1e-2)
    assert "softmax itself is off by 2.0e-02 in float16: more than the tolerance" in overall_text(coarse)
    unknown = recommendation(advice(softmax=float("nan")), arithmetic="float16")
    assert "softmax itself is off by inf" in overall_text(unknown)
    for limit, within in ((215985, True), (215984, False)):
        found = recommendation(advice(), max_state=limit)
        assert (found.within_state, found.enough) == (within, within)
        assert ("too much: it holds 215,985, and one head may hold 215,984 numbers" in overall_text(found)) != within
    assert not recommendation(advice(), cost=None, max_state=10**9).within_state
    cut = recommendation(advice(value=None), left_out="order 5 to 9: too large")
    assert overall_text(cut).splitlines()[-1] == "left out: order 5 to 9: too large"


def test_the_answer_of_recommendations_is_what_was_measured() -> None:
    q, k, v = np.random.default_rng(6).standard_normal((3, 2, 6, 3))
    problems = [Problem(scale * q, k, v, name=f"x{scale}") for scale in (0.1, 3.0)]
    found = [recommend(problem, 1e-2, largest=4) for problem in problems]
    answer = recommended_answer(found)
    assert [column.along for column in answer.columns] == [0, 1, 2, 3, 4]
    for one, subject in zip(found, answer.subjects, strict=True):
        assert [subject.points[place].error for place in range(len(one.values))] == list(one.overall.errors)
        column = answer.reached(subject, "taylor", 1e-2)
        assert (None if column is None else column.along) == one.overall.value
        assert [head.largest_logit for head in subject.heads] == [advice.largest_logit for advice in one.per_head]
    assert answered(answer, 1e-2).startswith("1 of 2 inputs (2 of 4 heads) reaches 1 % with taylor, at order ")
