"""The table of scenarios: ways to draw q, k and v at random, each with one thing that makes attention easy or hard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from verify.arguments import Count, Real, checked_values, shortest
from verify.numbers.arrays import Float64Array

# Of a logit, or of its standard deviation: beyond it only one key counts, and far beyond it float32 overflows.
LARGEST_LOGIT = 1e6

# Of the norms of q and k: a logit has both as factors.
LARGEST_GROWTH = 1e3

# Of a mean beside variance 1: float32 holds 24 bits, and the last four are to be left for the variance.
LARGEST_MEAN = 1e6

# Beyond them a Student t is as good as normal, and clusters are no more than their spread.
LARGEST_FREEDOM = 1e6
LARGEST_SPREAD = 1e6

# Standard deviation of the first value where the first token is a sink; trained models make it small, not zero.
SINK_VALUE = 2.0**-6

Drawn = tuple[Float64Array, Float64Array, Float64Array]

# draw(generator, tokens, head size, logit standard deviation, **parameters) -> q, k, v, all [tokens, head size]
Draw = Callable[..., Drawn]


@dataclass(frozen=True)
class Scenario:
    """A way to draw q, k and v of shape [tokens, head size], and the parameters it takes."""

    summary: str
    draw: Draw
    parameters: Mapping[str, Count | Real] = field(default_factory=dict)

    @property
    def description(self) -> str:
        """One sentence: what it is, then its parameters and their defaults as they are written in a name."""
        if not self.parameters:
            return self.summary
        defaults = (f"{name}={shortest(parameter.default)}" for name, parameter in self.parameters.items())
        return f"{self.summary}; parameters {','.join(defaults)}"

    def values(self, given: Iterable[tuple[str, float]], tokens: int) -> dict[str, float]:
        """Return the value of every parameter, the default where none is given, as `draw` takes them.

        Raises InvalidRequestError for a parameter that does not exist, is given twice, or has a value that makes no
        sense for so many tokens; a default may make none for very few.
        """
        remedy = "correct it; sizes, logit standard deviation and seed are given apart"
        chosen = checked_values(self.parameters, given, "parameter", "in this scenario", remedy, tokens)
        return {
            name: chosen[name] if name in chosen else parameter.checked(name, parameter.default, tokens)
            for name, parameter in self.parameters.items()
        }


def _normal(rng: np.random.Generator, tokens: int, head_size: int, logit_std: float) -> Drawn:
    """q = logit_std x, k = y, v = z with x, y, z ~ N(0, 1)."""
    q, k, v = rng.standard_normal((3, tokens, head_size))
    return logit_std * q, k, v


def _uniform(rng: np.random.Generator, tokens: int, head_size: int, logit_std: float) -> Drawn:
    """q = logit_std x, k = y, v = z with x, y, z uniform on [-sqrt 3, sqrt 3], whose variance is 1."""
    q, k, v = rng.uniform(-np.sqrt(3.0), np.sqrt(3.0), (3, tokens, head_size))
    return logit_std * q, k, v


def _heavy_tailed(rng: np.random.Generator, tokens: int, head_size: int, logit_std: float, *, freedom: float) -> Drawn:
    """q = logit_std c x, k = c y, v = c z with x, y, z ~ Student t of `freedom` degrees.

    Their variance is freedom / (freedom - 2), and c = sqrt((freedom - 2) / freedom).
    """
    q, k, v = np.sqrt((freedom - 2.0) / freedom) * rng.standard_t(freedom, (3, tokens, head_size))
    return logit_std * q, k, v


def _clustered(
    rng: np.random.Generator, tokens: int, head_size: int, logit_std: float, *, clusters: int, spread: float
) -> Drawn:
    """q_i = logit_std (c_b(i) + spread x_i) / r, k_j = (c_a(j) + spread y_j) / r with r = sqrt(1 + spread^2).

    c_1 .. c_clusters, x, y and v ~ N(0, 1), so the variance of k is 1 over all draws of centres.  a deals the keys out
    to the centres at random and evenly, b picks a centre for each query.  A logit across clusters has standard
    deviation logit_std; one within a cluster lies about logit_std sqrt(d) / (1 + spread^2).
    """
    centres = rng.standard_normal((clusters, head_size))
    of_key = rng.permutation(np.arange(tokens) % clusters)
    of_query = rng.integers(clusters, size=tokens)
    x, y, v = rng.standard_normal((3, tokens, head_size))
    size = np.hypot(1.0, spread)
    return logit_std * (centres[of_query] + spread * x) / size, (centres[of_key] + spread * y) / size, v


def _needle(
    rng: np.random.Generator, tokens: int, head_size: int, logit_std: float, *, matches: int, height: float
) -> Drawn:
    """q_i = logit_std P x_i + a u, k_j = P y_j + (a u if j matches), v ~ N(0, 1); see `_along_one_direction`.

    Matches stand in the middle of equal parts of the sequence, j = floor((m + 1/2) n / matches) for m = 0, 1, .., so a
    causal query sees more of them the later it stands, and the last one sees all.  Their logits are those of any other
    key plus height.
    """
    q, k, peak = _along_one_direction(rng, tokens, head_size, logit_std, height)
    k[(2 * np.arange(matches) + 1) * tokens // (2 * matches)] += peak
    return q, k, rng.standard_normal((tokens, head_size))


def _duplicated(rng: np.random.Generator, tokens: int, head_size: int, logit_std: float, *, copies: int) -> Drawn:
    """q = logit_std x, k_j = y_t(j), v_j = z_t(j) with x, y, z ~ N(0, 1): a token seen again has key and value again.

    There are ceil(n / copies) distinct tokens; t has each of them `copies` times, the last one less often where copies
    does not divide n, in random order.
    """
    distinct = -(-tokens // copies)
    token = rng.permutation(np.arange(tokens) // copies)
    k, v = rng.standard_normal((2, distinct, head_size))
    return logit_std * rng.standard_normal((tokens, head_size)), k[token], v[token]


def _growing(rng: np.random.Generator, tokens: int, head_size: int, logit_std: float, *, growth: float) -> Drawn:
    """q_i = logit_std sqrt(d) f_i x_i, k_j = sqrt(d) f_j y_j, v ~ N(0, 1) with x, y uniform on the unit sphere.

    f grows linearly from 1 / growth at the first token to growth at the last.  The logit of query i and key j has
    standard deviation logit_std f_i f_j.
    """
    norm = np.sqrt(head_size) * np.linspace(1.0 / growth, growth, tokens)[:, None]
    q, k, v = rng.standard_normal((3, tokens, head_size))
    return logit_std * norm * _directions(q), norm * _directions(k), v


def _mean_v(rng: np.random.Generator, tokens: int, head_size: int, logit_std: float, *, mean: float) -> Drawn:
    """q = logit_std x, k = y, v = mean + z with x, y, z ~ N(0, 1).

    Any weights that sum to 1 give about `mean`: a relative error hides what attention adds to it.
    """
    q, k, v = rng.standard_normal((3, tokens, head_size))
    return logit_std * q, k, mean + v


def _sink(rng: np.random.Generator, tokens: int, head_size: int, logit_std: float, *, height: float) -> Drawn:
    """q_i = logit_std P x_i + a u, k_0 = a u, k_j = P y_j, v_j ~ N(0, 1), v_0 ~ N(0, 2**-12).

    See `_along_one_direction`: the logit of every query with the first key is height, of the others about 0.
    """
    q, k, peak = _along_one_direction(rng, tokens, head_size, logit_std, height)
    k[0] = peak
    v = rng.standard_normal((tokens, head_size))
    v[0] *= SINK_VALUE
    return q, k, v


def _along_one_direction(
    rng: np.random.Generator, tokens: int, head_size: int, logit_std: float, height: float
) -> Drawn:
    """Return q_i = logit_std P x_i + a u, k_j = P y_j, and a u, with x, y ~ N(0, 1).

    u is uniform on the unit sphere, P = I - u u^T, a = sqrt(height sqrt(d)): q_i . a u / sqrt(d) = height for every
    query, whatever logit_std.  Without the part along u a logit has standard deviation logit_std sqrt(1 - 1/d).
    """
    u = _directions(rng.standard_normal(head_size))
    x, y = rng.standard_normal((2, tokens, head_size))
    peak = np.sqrt(height * np.sqrt(head_size)) * u
    return logit_std * _without(u, x) + peak, _without(u, y), peak


def _directions(x: Float64Array) -> Float64Array:
    """Return x / |x| over the last axis."""
    scaled: Float64Array = x / np.sqrt(np.square(x).sum(axis=-1, keepdims=True))
    return scaled


def _without(u: Float64Array, x: Float64Array) -> Float64Array:
    """Return x - (x . u) u over the last axis, u of length 1."""
    # not x @ u: the last bit of BLAS may change with the number of threads, and workers are to find the digest of the
    # planner
    rest: Float64Array = x - (x * u).sum(axis=-1, keepdims=True) * u
    return rest


SCENARIOS = {
    "normal": Scenario(
        "q, k, v independent N(0, 1), q times the logit standard deviation (SA's experiments at 1)", _normal
    ),
    "uniform": Scenario("q, k, v independent and uniform with variance 1", _uniform),
    "heavy-tailed": Scenario(
        "q, k, v independent Student t scaled to variance 1",
        _heavy_tailed,
        {"freedom": Real(3.0, least=2.0, most=LARGEST_FREEDOM, above=True)},
    ),
    "clustered": Scenario(
        "keys gather around centres, and every query around one of them",
        _clustered,
        {"clusters": Count(8), "spread": Real(0.25, least=0.0, most=LARGEST_SPREAD)},
    ),
    "needle": Scenario(
        "few keys match the queries: their logits are higher by height",
        _needle,
        {"matches": Count(1), "height": Real(10.0, least=0.0, most=LARGEST_LOGIT, above=True)},
    ),
    "duplicated": Scenario("every key occurs several times, with its value", _duplicated, {"copies": Count(4)}),
    "growing": Scenario(
        "norms of q and k grow along the sequence, from 1/growth to growth",
        _growing,
        {"growth": Real(4.0, least=1.0, most=LARGEST_GROWTH)},
    ),
    "mean-v": Scenario(
        "v has a mean beside its variance 1, in which relative errors hide",
        _mean_v,
        {"mean": Real(10.0, least=-LARGEST_MEAN, most=LARGEST_MEAN)},
    ),
    "sink": Scenario(
        "every query has logit height with the first key, whose value is near 0",
        _sink,
        {"height": Real(8.0, least=0.0, most=LARGEST_LOGIT, above=True)},
    ),
}
