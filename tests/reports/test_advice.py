"""Recommendations as they are printed, for mechanisms with and without costs, proposals and more parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from reports.advice import advice_table, overall_text
from tests.reports.running import rows
from verify.attention.contract import Cost
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
        "fails_again": None,
    }
    return Advice(**known | changed)


def recommendation(overall: Advice, **changed: Any) -> Recommendation:
    known: dict[str, Any] = {
        "mechanism": "any",
        "axis": "order",
        "metric": "relative",
        "tolerance": 1e-2,
        "arithmetic": None,
        "form": None,
        "largest": 20,
        "proposed": 3,
        "overall": overall,
        "per_head": (),
        "member": "any:order=17",
        "cost": Cost(6545, 215985, 902020),
        "memory_context": 3375,
        "flop_context": 6886,
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
        ("Z <= 0 at order 3", "219 of 512"),
    ]
    assert (head["head"], head["order"], head["terms"], head["at order"]) == ("1", "none up to 20", "", "12")
    assert overall_text(found).splitlines() == [
        "order 17 (18 terms), for each head: 6,545 features, a state of 215,985 numbers, 902,020 FLOPs per token",
        "it meets conventional attention at a context of 3,375 tokens in memory and 6,886 in FLOPs",
        "more is not always better: order 19 misses the tolerance again",
        "no order up to 20 is guaranteed: the bounds on its errors exceed the tolerance",
    ]


def test_what_is_unknown_is_left_out() -> None:
    labels = {"features": 64, "seed": 0}
    overall = advice(value=64, best=64, guaranteed=64, labels=labels, nonpositive_rows=None)
    found = recommendation(overall, axis="features", proposed=None, member="any:features=64,seed=0")
    (row,) = rows(advice_table(found))
    assert (row["features"], row["seed"], row["guaranteed features"]) == ("64", "0", "64")
    assert list(row)[-1] == "misses again at"
    assert overall_text(found).startswith("features 64 (seed 0), for each head: 6,545 features, a state of")
    partly = recommendation(advice(guaranteed=17), cost=Cost(None, 99, None), flop_context=None)
    assert overall_text(partly).splitlines() == [
        "order 17 (18 terms), for each head: a state of 99 numbers",
        "it meets conventional attention at a context of 3,375 tokens in memory",
    ]
    least = advice(value=0, guaranteed=0, labels={"order": 0, "terms": 1})
    assert overall_text(recommendation(least, cost=Cost(1, 2, 1), memory_context=1, flop_context=1)).splitlines() == [
        "order 0 (terms 1), for each head: 1 feature, a state of 2 numbers, 1 FLOP per token",
        "it meets conventional attention at a context of 1 token in memory and 1 in FLOPs",
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
    for mechanism, axis, columns in (("taylor", "order", 9), ("power", "degree", 7), ("favor", "features", 8)):
        found = recommend(problem, 0.5, mechanism=mechanism, largest=4)
        shown = rows(advice_table(found))
        assert [row["head"] for row in shown] == ["0", "1", "all"]
        assert {len(row) for row in shown} == {columns}
        assert axis in overall_text(found)
