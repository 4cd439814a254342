"""Every scenario against a statement of what it is that knows nothing of how it is drawn."""

from __future__ import annotations

import itertools
import pickle
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from scipy import stats

from verify.arguments import Real
from verify.errors import InvalidRequestError
from verify.inputs import SCENARIOS, SyntheticInput
from verify.numbers.arrays import Float64Array
from verify.problem import Problem


def source(
    scenario: str,
    head_size: int,
    tokens: int,
    std: float = 1.0,
    seed: int = 0,
    parameters: Mapping[str, float] = MappingProxyType({}),
) -> SyntheticInput:
    return SyntheticInput(scenario, head_size, tokens, std, seed, parameters=tuple(parameters.items()))


def drawn(
    scenario: str,
    head_size: int,
    tokens: int,
    std: float = 1.0,
    seed: int = 0,
    parameters: Mapping[str, float] = MappingProxyType({}),
) -> Problem:
    return source(scenario, head_size, tokens, std, seed, parameters).load()


def logits(problem: Problem) -> Float64Array:
    scores: Float64Array = problem.q @ problem.k.T / np.sqrt(problem.head_size)
    return scores


def last_weights(problem: Problem) -> Float64Array:
    weights = np.exp(logits(problem)[-1])
    scaled: Float64Array = weights / weights.sum()
    return scaled


def follows(values: Float64Array, distribution: Any) -> bool:
    """Kolmogorov and Smirnov's test, at a level that a right generator misses once in 100,000 times."""
    return bool(stats.kstest(values.ravel(), distribution.cdf).pvalue > 1e-5)


def test_normal_is_drawn_as_it_always_was() -> None:
    q, k, v = np.random.Generator(np.random.PCG64(5)).standard_normal((3, 7, 4))
    expected = Problem((2.5 * q).astype(np.float32), k.astype(np.float32), v.astype(np.float32), causal=True)
    assert drawn("normal", 4, 7, 2.5, seed=5).digest == expected.digest
    assert SyntheticInput("normal", 8, 256).name == "normal:d=8,n=256,std=1,seed=0"
    assert SyntheticInput("normal", 8, 256, 0.5, 3, False).name == "normal:d=8,n=256,std=0.5,seed=3,full"


DISTRIBUTIONS: dict[str, tuple[str, dict[str, float], Any]] = {
    "normal": ("normal", {}, stats.norm()),
    "uniform": ("uniform", {}, stats.uniform(-np.sqrt(3), 2 * np.sqrt(3))),
    "heavy-tailed": ("heavy-tailed", {}, stats.t(3, scale=np.sqrt(1 / 3))),
    "heavy-tailed, four": ("heavy-tailed", {"freedom": 4}, stats.t(4, scale=np.sqrt(1 / 2))),
    "heavy-tailed, 2.1": ("heavy-tailed", {"freedom": 2.1}, stats.t(2.1, scale=np.sqrt(0.1 / 2.1))),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_elements_follow_their_distribution_and_no_other(name: str) -> None:
    scenario, parameters, _ = DISTRIBUTIONS[name]
    problem = drawn(scenario, 64, 1024, 4.0, parameters=parameters)
    for values in (problem.q / 4.0, problem.k, problem.v):
        assert [other for other, (*_, law) in DISTRIBUTIONS.items() if follows(values, law)] == [name]
    for one, other in itertools.combinations((problem.q, problem.k, problem.v), 2):
        ranks = stats.spearmanr(one.ravel(), other.ravel()).statistic  # a moment would not settle with heavy tails
        assert abs(ranks) < 5 / np.sqrt(one.size)


def test_uniform_elements_fill_their_interval() -> None:
    problem = drawn("uniform", 64, 1024, 4.0)
    for values in (problem.q / 4.0, problem.k, problem.v):
        assert (values.min(), values.max()) == pytest.approx((-np.sqrt(3), np.sqrt(3)), rel=1e-3)


def test_heavy_tails_reach_where_a_normal_never_does() -> None:
    assert np.abs(drawn("heavy-tailed", 64, 1024).k).max() > 10
    assert np.abs(drawn("normal", 64, 1024).k).max() < 6


def groups(points: Float64Array, near: float) -> list[set[int]]:
    """Return the sets of points within a distance of one another, refusing sets that are not well apart."""
    close = np.square(points[:, None] - points[None]).mean(axis=-1) < near**2
    found = {tuple(np.flatnonzero(row).tolist()) for row in close}
    assert sum(map(len, found)) == len(points), "a point in two groups"
    return [set(group) for group in found]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("parameters", "clusters"), [({}, 8), ({"clusters": 3}, 3), ({"clusters": 1}, 1)])
def test_clustered_keys_are_near_in_their_cluster_and_far_outside(
    parameters: dict[str, float], clusters: int, seed: int
) -> None:
    problem = drawn("clustered", 64, 50, 3.0, seed, parameters=parameters)
    found = groups(problem.k, near=0.75)  # root mean squares: 0.34 within, 1.37 between
    assert sorted(map(len, found)) == sorted(len(range(c, 50, clusters)) for c in range(clusters))
    sizes = [np.square(problem.k[list(group)] - problem.k[list(group)].mean(axis=0)).sum() for group in found]
    within = sum(sizes) / 64 / (50 - clusters)
    assert within == pytest.approx(0.25**2 / (1 + 0.25**2), rel=0.15)
    assert np.square(problem.k).mean() == pytest.approx(1.0, rel=5 * np.sqrt(2 / (64 * clusters)))
    # a query is nearest to one centre, by far, and not all are to the same
    centres = np.stack([problem.k[list(group)].mean(axis=0) for group in found])
    apart = np.sqrt(np.square(problem.q[:, None] / 3.0 - centres[None]).mean(axis=-1))
    assert (apart.min(axis=1) < 0.5).all()
    assert (np.sort(apart, axis=1)[:, 1:] > 1.0).all()
    assert len(set(apart.argmin(axis=1))) > clusters / 2


def test_clusters_without_spread_are_points_and_with_much_of_it_none() -> None:
    assert len(np.unique(drawn("clustered", 8, 40, parameters={"spread": 0, "clusters": 5}).k, axis=0)) == 5
    wide = drawn("clustered", 64, 1024, parameters={"spread": 1e6})
    assert follows(wide.k, stats.norm())
    assert follows(wide.q, stats.norm())


@pytest.mark.parametrize("head_size", [1, 2, 16, 64])
@pytest.mark.parametrize(
    ("parameters", "places", "height"),
    [
        ({}, [16], 10),
        ({"matches": 4, "height": 7.5}, [4, 12, 20, 28], 7.5),
        ({"matches": 3}, [5, 16, 26], 10),
        ({"matches": 32}, list(range(32)), 10),
    ],
)
def test_needles_are_what_every_query_finds(
    parameters: dict[str, float], places: list[int], height: float, head_size: int
) -> None:
    matching = np.isin(np.arange(32), places)
    # without a random part of q, every logit is height or 0
    bare = logits(drawn("needle", head_size, 32, 0.0, parameters=parameters))
    np.testing.assert_allclose(bare, np.broadcast_to(np.where(matching, height, 0.0), (32, 32)), atol=1e-5)
    problem = drawn("needle", head_size, 32, 0.5, parameters=parameters)
    assert last_weights(problem)[matching].sum() > 0.97
    assert (last_weights(problem)[matching] > 0.01).all()
    assert len(np.unique(problem.v, axis=0)) == 32


@pytest.mark.parametrize("scenario", ["needle", "sink"])
def test_what_is_beside_the_shared_direction_is_normal(scenario: str) -> None:
    size, tokens, std = 64, 1024, 3.0
    problem = drawn(scenario, size, tokens, std)
    special = np.isin(np.arange(tokens), [0, tokens // 2])
    background = logits(problem)[:, ~special]
    assert background.mean() == pytest.approx(0.0, abs=0.05)
    assert background.std() == pytest.approx(std * np.sqrt(1 - 1 / size), rel=0.03)
    assert np.square(problem.k[~special]).sum() == pytest.approx((size - 1) * (~special).sum(), rel=0.03)
    assert follows(problem.v[~special], stats.norm())


@pytest.mark.parametrize(
    ("tokens", "parameters", "copies"), [(64, {}, 4), (63, {"copies": 7}, 7), (10, {"copies": 1}, 1)]
)
def test_duplicated_keys_occur_so_many_times(tokens: int, parameters: dict[str, float], copies: int) -> None:
    problem = drawn("duplicated", 8, tokens, 2.0, parameters=parameters)
    _, key, counts = np.unique(problem.k, axis=0, return_inverse=True, return_counts=True)
    assert (counts == copies).all()
    assert len(np.unique(problem.q, axis=0)) == tokens
    # a key and its value belong together
    pairs = np.unique(np.hstack([problem.k, problem.v]), axis=0)
    assert len(pairs) == len(np.unique(problem.v, axis=0)) == len(counts) == tokens // copies
    if copies > 1:
        assert (np.diff(key.ravel()) != 0).sum() > tokens // 2, "in random order, not one after another"


def test_the_last_duplicate_takes_what_is_left() -> None:
    counts = np.unique(drawn("duplicated", 8, 10).k, axis=0, return_counts=True)[1]
    assert sorted(counts) == [2, 4, 4]
    assert len(np.unique(drawn("duplicated", 8, 10, parameters={"copies": 10}).k, axis=0)) == 1


@pytest.mark.parametrize("head_size", [1, 16])
@pytest.mark.parametrize(("parameters", "growth"), [({}, 4), ({"growth": 10}, 10), ({"growth": 1}, 1)])
def test_growing_norms_lie_on_a_line(parameters: dict[str, float], growth: float, head_size: int) -> None:
    problem = drawn("growing", head_size, 41, 3.0, parameters=parameters)
    for values, factor in ((problem.q, 3.0), (problem.k, 1.0)):
        norms = np.linalg.norm(values, axis=1) / np.sqrt(head_size)
        assert norms[0] == pytest.approx(factor / growth, rel=1e-6)
        assert norms[-1] == pytest.approx(factor * growth, rel=1e-6)
        assert norms[20] == pytest.approx(factor * (growth + 1 / growth) / 2, rel=1e-6)
        np.testing.assert_allclose(np.diff(norms, 2), 0.0, atol=1e-5)
    assert follows(drawn("growing", 16, 4096).v, stats.norm())


def test_growing_directions_are_independent() -> None:
    problem = drawn("growing", 64, 1024)
    # the last 64 factors average 4 less 31.5 of 1,023 steps from 1/4 to 4
    ends = logits(problem)[-64:, -64:]
    assert ends.std() == pytest.approx(16 * (1 - 2 * 31.5 / 1023 * 15 / 16), rel=0.1)
    assert abs(ends.mean()) < 5 * 16 / 64


@pytest.mark.parametrize(("parameters", "mean"), [({}, 10.0), ({"mean": -2.5}, -2.5), ({"mean": 0}, 0.0)])
def test_mean_v_has_that_mean_and_nothing_else_has(parameters: dict[str, float], mean: float) -> None:
    problem = drawn("mean-v", 64, 1024, 2.0, parameters=parameters)
    for values, law in ((problem.q / 2.0, (0, 1)), (problem.k, (0, 1)), (problem.v, (mean, 1))):
        assert follows(values, stats.norm(*law))


@pytest.mark.parametrize(("parameters", "height"), [({}, 8.0), ({"height": 12}, 12.0)])
@pytest.mark.parametrize("head_size", [1, 16, 64])
def test_a_sink_draws_every_query_and_gives_nearly_nothing(
    parameters: dict[str, float], height: float, head_size: int
) -> None:
    problem = drawn("sink", head_size, 64, 4.0, parameters=parameters)
    np.testing.assert_allclose(logits(problem)[:, 0], height, atol=1e-4)
    calm = drawn("sink", head_size, 64, 1.0, parameters=parameters)
    assert last_weights(calm)[0] > 0.9
    assert last_weights(drawn("normal", head_size, 64))[0] < 0.5
    assert np.abs(problem.v[0]).max() < 0.1
    assert np.abs(problem.v[1:]).mean() > 0.6


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_standard_deviation_multiplies_what_is_random_in_q_and_nothing_else(scenario: str) -> None:
    none, once, thrice = (drawn(scenario, 6, 12, std) for std in (0.0, 1.0, 3.0))
    np.testing.assert_allclose(thrice.q - none.q, 3.0 * (once.q - none.q), rtol=1e-5, atol=1e-5)
    assert (once.q != none.q).all()
    assert (none.q == none.q[0]).all()
    assert (none.q == 0.0).all() == (scenario not in ("needle", "sink"))
    np.testing.assert_array_equal(once.k, thrice.k)
    np.testing.assert_array_equal(once.v, thrice.v)


VALUES: dict[str, list[float]] = {
    "freedom": [2.5, 5],
    "clusters": [1, 3],
    "spread": [0, 0.5],
    "matches": [2, 8],
    "height": [1e-3, 20],
    "copies": [1, 3],
    "growth": [1, 10],
    "mean": [-10, 0.5],
}


def variants(scenario: str) -> list[dict[str, float]]:
    """Return every choice of parameters, each left out or with one of its values."""
    found: list[dict[str, float]] = [{}]
    for name in SCENARIOS[scenario].parameters:
        found += [{**chosen, name: value} for chosen in found for value in VALUES[name]]
    return found


def test_names_tell_apart_what_is_drawn_and_nothing_else() -> None:
    shapes = [(4, 8), (4, 9), (5, 8)]
    inputs = [
        SyntheticInput(scenario, *shape, std, seed, causal, parameters=tuple(parameters.items()))
        for scenario in SCENARIOS
        for parameters in variants(scenario)
        for shape, std, seed, causal in itertools.product(shapes, (1.0, 0.5), (0, 7), (True, False))
    ]
    digests: dict[str, set[str]] = {}
    for one in inputs:
        assert one.name == one.load().name
        digests.setdefault(one.name, set()).add(one.load().digest)
        digests[one.name].add(pickle.loads(pickle.dumps(one)).load().digest)  # noqa: S301 - our own bytes
    assert all(len(found) == 1 for found in digests.values())
    assert len(set.union(*digests.values())) == len(digests) == len(set(inputs)) == len(inputs) > 700


def test_the_order_of_parameters_and_how_they_are_written_do_not_matter() -> None:
    one = SyntheticInput("needle", 8, 32, parameters=(("matches", 2), ("height", 12.0)))
    other = SyntheticInput("needle", 8, 32, parameters=(("height", np.float64(12)), ("matches", 2.0)))
    assert (one, hash(one), one.name, one.load().digest) == (other, hash(other), other.name, other.load().digest)
    assert other.name == "needle:height=12,matches=2,d=8,n=32,std=1,seed=0"
    assert source("mean-v", 8, 32, parameters={"mean": -0.0}).name == "mean-v:mean=0,d=8,n=32,std=1,seed=0"
    assert (
        source("clustered", 8, 32, parameters={"spread": 0.1}).name
        != source("clustered", 8, 32, parameters={"spread": 0.1 + 1e-12}).name
    )


def test_a_default_that_is_written_out_is_the_same_draw_under_the_name_that_was_given() -> None:
    for scenario, entry in SCENARIOS.items():
        given = source(
            scenario, 4, 8, parameters={name: parameter.default for name, parameter in entry.parameters.items()}
        )
        assert given.load().digest == drawn(scenario, 4, 8).digest
        assert given.name.count("=") == 4 + len(entry.parameters)
        assert source(scenario, 4, 8).name == f"{scenario}:d=4,n=8,std=1,seed=0"
        written = [f"{name}={parameter.default:g}" for name, parameter in entry.parameters.items()]
        assert entry.description.endswith(",".join(written))


@pytest.mark.parametrize(
    ("scenario", "parameters", "message"),
    [
        (
            "needle",
            {"matches": 0},
            "matches 0; expected an integer of at least 1 and at most the number of tokens; choose",
        ),
        ("needle", {"matches": -1}, "matches -1; expected an integer of at least 1"),
        ("needle", {"matches": 1.5}, "matches 1.5; expected an integer"),
        ("needle", {"matches": np.nan}, "matches nan; expected an integer"),
        ("needle", {"matches": np.inf}, "matches inf; expected an integer"),
        ("needle", {"matches": 9}, "matches 9 with 8 tokens; expected an integer of at least 1 and at most the number"),
        ("needle", {"matches": 1e300}, "matches 1e+300 with 8 tokens"),
        ("needle", {"height": 0}, "height 0; expected a number above 0, up to 1e+06; choose another height"),
        ("needle", {"height": -1}, "height -1; expected"),
        ("needle", {"height": np.nan}, "height nan; expected"),
        ("needle", {"height": np.inf}, "height inf; expected"),
        ("needle", {"height": 2e6}, "height 2000000; expected"),
        ("needle", {"nosuch": 1}, "unknown parameter 'nosuch'; expected one of matches, height; correct it"),
        ("normal", {"matches": 1}, "unknown parameter 'matches'; expected no parameters in this scenario; correct it"),
        ("heavy-tailed", {"freedom": 2}, "freedom 2; expected a number above 2, up to 1e+06; choose another freedom"),
        ("heavy-tailed", {"freedom": 1e7}, "freedom 10000000; expected"),
        ("heavy-tailed", {"freedom": np.nan}, "freedom nan; expected"),
        ("clustered", {"clusters": 0}, "clusters 0; expected an integer of at least 1"),
        ("clustered", {"clusters": 2.5}, "clusters 2.5; expected an integer"),
        ("clustered", {"clusters": 9}, "clusters 9 with 8 tokens; expected an integer"),
        ("clustered", {"spread": -0.1}, "spread -0.1; expected a number from 0 to 1e+06"),
        ("clustered", {"spread": np.inf}, "spread inf; expected"),
        ("duplicated", {"copies": 0.5}, "copies 0.5; expected an integer"),
        ("duplicated", {"copies": 0}, "copies 0; expected an integer"),
        ("duplicated", {"copies": 9}, "copies 9 with 8 tokens; expected"),
        ("growing", {"growth": 0.5}, "growth 0.5; expected a number from 1 to 1000"),
        ("growing", {"growth": 1e4}, "growth 10000; expected"),
        ("mean-v", {"mean": np.nan}, "mean nan; expected a number from -1e+06 to 1e+06"),
        ("mean-v", {"mean": -np.inf}, "mean -inf; expected"),
        ("sink", {"height": 0}, "height 0; expected a number above 0"),
    ],
)
def test_parameters_that_make_no_sense(scenario: str, parameters: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=re.escape(message)):
        source(scenario, 4, 8, parameters=parameters)


def test_a_parameter_given_twice_and_defaults_that_do_not_fit() -> None:
    with pytest.raises(InvalidRequestError, match=r"parameter 'matches' given twice; expected each parameter once"):
        SyntheticInput("needle", 4, 8, parameters=(("matches", 2), ("height", 1), ("matches", 2)))
    with pytest.raises(InvalidRequestError, match=r"copies 4 with 3 tokens"):
        SyntheticInput("duplicated", 4, 3)
    assert drawn("duplicated", 4, 3, parameters={"copies": 3}).keys == 3


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_overflows_at_the_bounds(scenario: str) -> None:
    bounds = {
        name: [np.nextafter(parameter.least, parameter.most) if parameter.above else parameter.least, parameter.most]
        if isinstance(parameter, Real)
        else [1, 3]
        for name, parameter in SCENARIOS[scenario].parameters.items()
    }
    for values in itertools.product(*bounds.values()):
        for std in (0.0, 1e6):
            problem = drawn(scenario, 1024, 3, std, parameters=dict(zip(bounds, values, strict=True)))
            scores = problem.q.astype(np.float32) @ problem.k.astype(np.float32).T  # an overflow would be a warning
            assert np.isfinite(scores).all()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_one_token_is_enough(scenario: str) -> None:
    parameters = {"clusters": 1} if scenario == "clustered" else {"copies": 1} if scenario == "duplicated" else {}
    assert drawn(scenario, 1, 1, parameters=parameters).output_shape == (1, 1)
