"""Weight rows against the same written out pair by pair."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests.cases import PROBLEMS, named, run
from verify.measure.summary import WeightSummary
from verify.measure.weights import case_of, compare_weights
from verify.mechanisms import named_member
from verify.numbers.arithmetic import ARITHMETICS
from verify.problem import Problem
from verify.problem import rows as rows_of_problem
from verify.truth import reference


def written_out(problem: Problem, mechanism: str, order: int | None) -> dict[str, Any]:
    """Return what `compare_weights` returns, by loops over rows and keys."""
    scale = problem.head_size**-0.5 if problem.scale is None else problem.scale
    variations: list[float] = []
    distances: dict[int, float] = {}
    agreeing, negative, pairs, tiny = 0.0, 0, 0, 0
    worst_weight, worst_row = 1.0, 1.0
    shift = problem.keys - problem.queries if problem.alignment == "bottom-right" else 0
    for head in problem.each_head():
        for i in range(problem.queries):
            seen = np.flatnonzero(head.attended()[i]).tolist()
            if not seen:
                continue
            logits = [scale * math.fsum(head.q[i] * head.k[t]) for t in seen]
            softmax = [math.exp(s - max(logits)) for s in logits]
            softmax = [p / math.fsum(softmax) for p in softmax]
            if mechanism == "taylor":
                assert order is not None
                terms = [[s**p / math.factorial(p) for p in range(order + 1)] for s in logits]
                weights = [math.fsum(t) for t in terms]
                sizes = [math.fsum(map(abs, t)) for t in terms]
            elif mechanism == "logexp":
                weights = [math.fsum(math.exp(a) for a in head.q[i] + head.k[t]) for t in seen]
                sizes = weights
            elif mechanism == "mean":
                weights = sizes = [1.0 for _ in seen]
            elif mechanism == "power":
                weights = sizes = [s**2 for s in logits]
            elif mechanism == "elu":
                of_q, *of_k = ([x + 1 if x > 0 else math.exp(x) for x in token] for token in (head.q[i], *head.k[seen]))
                weights = sizes = [math.fsum(a * b for a, b in zip(of_q, token, strict=True)) for token in of_k]
            else:
                weights = sizes = softmax
            z = math.fsum(weights)
            parts = [abs(w / z - p) / 2 for w, p in zip(weights, softmax, strict=True)]
            variations.append(math.fsum(parts))
            tops = [
                {t for t, x in enumerate(row) if x >= max(row) - 1e-10 * abs(max(row))}
                for row in (softmax, [w / z for w in weights])
            ]
            agreeing += len(tops[0] & tops[1]) / len(tops[1])
            negative += sum(w < 0 for w in weights)
            pairs += len(seen)
            tiny += not z > 1e-3 * math.fsum(map(abs, weights))
            worst_weight = max(worst_weight, *(a / abs(w) for a, w in zip(sizes, weights, strict=True)))
            worst_row = max(worst_row, math.fsum(map(abs, weights)) / abs(z))
            for t, part in zip(seen, parts, strict=True):
                away = abs(i + shift - t)
                first = 0 if away == 0 else 1 << (away.bit_length() - 1)
                distances[first] = distances.get(first, 0.0) + part
    rows = len(variations)
    return {
        "pairs": pairs,
        "total_variation_mean": math.fsum(variations) / rows,
        "total_variation_max": max(variations),
        "top_key_agreement": agreeing / rows,
        "negative": negative,
        "tiny_rows": tiny,
        "cancellation_weight": worst_weight,
        "cancellation_row": worst_row,
        "by_distance": {first: part / rows for first, part in distances.items()},
    }


def assert_same(found: WeightSummary, expected: dict[str, Any]) -> None:
    by_distance = {first: moved for first, _, moved, _ in found.by_distance}
    for name, value in expected.items():
        if name == "by_distance":
            assert by_distance == pytest.approx(value, rel=1e-9, abs=1e-12)
        else:
            assert getattr(found, name) == pytest.approx(value, rel=1e-9, abs=1e-12), name


@pytest.mark.parametrize("pairs", [1, 10, 1 << 20])
@pytest.mark.parametrize("problem", [PROBLEMS[i] for i in (0, 1, 3, 4, 5, 6, 7, 11)], ids=lambda p: p.name)
@pytest.mark.parametrize(
    ("mechanism", "order"),
    [("softmax", None), ("logexp", None), ("taylor", 0), ("taylor", 3), ("mean", None), ("power", None), ("elu", None)],
)
def test_weights_are_those_written_out(
    mechanism: str, order: int | None, problem: Problem, pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_of_problem, "PAIRS", pairs)
    assert_same(compare_weights(problem, named_member(named(mechanism, order))), written_out(problem, mechanism, order))


def test_rows_are_taken_a_few_at_a_time_and_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(58)
    q, k, v = rng.standard_normal((3, 7, 2))
    problem = Problem(q, k, v, causal=True)
    at_once = compare_weights(problem, named_member("taylor:order=1"))
    assert max(example.query for example in at_once.examples.values()) >= 4
    assert [span[:2] for span in at_once.by_distance] == [(0, 0), (1, 1), (2, 3), (4, 7)]
    for pairs in (14, 3):  # two rows, and one although it does not fit
        monkeypatch.setattr(rows_of_problem, "PAIRS", pairs)
        in_pieces = compare_weights(problem, named_member("taylor:order=1"))
        assert in_pieces.examples == at_once.examples
        np.testing.assert_allclose(in_pieces.by_distance, at_once.by_distance, rtol=1e-12, atol=1e-15)


def test_rows_are_undecided_where_either_has_two_largest_weights() -> None:
    q, k, v = np.random.default_rng(60).standard_normal((3, 5, 2))
    problem = Problem(q, k, v)
    assert compare_weights(problem, named_member("softmax")).top_key_undecided == 0
    assert compare_weights(problem, named_member("mean")).top_key_undecided == 5


def test_softmax_is_its_own_measure() -> None:
    found = compare_weights(PROBLEMS[1], named_member("softmax"))
    assert found.total_variation_max <= 1e-15  # divided by their sum a second time
    assert (found.top_key_agreement, found.negative, found.tiny_rows) == (1.0, 0, 0)
    assert found.examples == {}


def test_ties_are_undecided_and_special_values_are_the_worst() -> None:
    ties = Problem(np.ones((2, 2)), np.ones((3, 2)), np.ones((3, 1)))
    found = compare_weights(ties, named_member("taylor:order=2"))
    assert (found.top_key_undecided, found.top_key_agreement) == (2, 1.0)
    zero = Problem([[1.0]], [[-1.0]], [[3.0]], scale=1.0)  # Z = 0 at order 1
    found = compare_weights(zero, named_member("taylor:order=1"))
    assert (found.total_variation_mean, found.top_key_agreement, found.tiny_rows) == (np.inf, 0.0, 1)
    assert found.cancellation_row == found.cancellation_weight == np.inf
    huge = Problem([[1e200]], [[1e200], [1.0]], [[1.0], [2.0]])
    assert compare_weights(huge, named_member("taylor:order=3")).total_variation_max == np.inf


def test_a_wrong_order_is_noticed() -> None:
    with pytest.raises(AssertionError):
        assert_same(compare_weights(PROBLEMS[1], named_member("taylor:order=2")), written_out(PROBLEMS[1], "taylor", 3))


def test_worst_cases_can_be_replayed() -> None:
    q, k, v = np.random.default_rng(321).standard_normal((3, 2, 12, 3))
    problem = Problem(3 * q, k, v, causal=True)
    found = compare_weights(problem, named_member("taylor:order=3"))
    assert set(found.examples) >= {"negative weight", "cancellation in Z", "cancellation in a weight"}
    pair = found.examples["negative weight"]
    alone = case_of(pair, problem)
    assert alone.q.shape == alone.k.shape == (1, 3)
    logit = float(alone.q[0] @ alone.k[0]) / math.sqrt(3)
    assert pair.value == pytest.approx(1 + logit + logit**2 / 2 + logit**3 / 6, rel=1e-9)
    assert pair.value < 0
    row = case_of(found.examples["cancellation in Z"], problem)
    assert row.k.shape[0] == found.examples["cancellation in Z"].query + 1
    example = found.examples["cancellation in Z"]
    replayed = run("taylor", "scores", row, ARITHMETICS["float64"], 3)
    whole = reference(problem, 30, "taylor:order=3").value[example.head][example.query]
    assert np.abs(replayed.value[0] - whole).max() <= 1e-9 * np.abs(whole).max() * example.value


def test_infinite_weights_do_not_hide_the_worst_one() -> None:
    problem = Problem([[1e6]], [[-1e12], [1.0], [-1e2]], np.ones((3, 1)), scale=1.0)
    found = compare_weights(problem, named_member("taylor:order=21"))
    assert found.negative == 2
    assert "negative weight" in found.examples


def test_weights_that_float64_cannot_tell_apart_are_undecided() -> None:
    # softmax weights of logits x apart are x apart, relatively: below 2**-36 undecided, above not
    for gap, undecided in ((2.0**-50, 1), (2.0**-37, 1), (2.0**-35, 0), (1e-3, 0)):
        problem = Problem([[1.0]], [[1.0], [1.0 + gap], [0.0]], np.ones((3, 1)), scale=1.0)
        for mechanism, order in (("softmax", None), ("logexp", None), ("taylor", 4)):
            found = compare_weights(problem, named_member(named(mechanism, order)))
            assert (found.top_key_undecided, found.top_key_agreement) == (undecided, 1.0)
    # equal logits, rounded differently: 0.1 + 0.2 + 0.3 from either end
    ends = Problem([[1.0, 1.0, 1.0]], [[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.0, 0.0, 0.0]], np.ones((3, 1)), scale=1.0)
    assert compare_weights(ends, named_member("softmax")).top_key_undecided == 1
