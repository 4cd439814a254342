"""Seeded synthetic inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from verify.errors import InvalidRequestError
from verify.problem import Float64Array, Problem

# Beyond it only one key counts, and far beyond it float32 overflows.
LARGEST_LOGIT_STD = 1e6

Draw = Callable[[np.random.Generator, int, int, float], tuple[Float64Array, Float64Array, Float64Array]]


@dataclass(frozen=True)
class Distribution:
    """A way to draw q, k and v of shape [tokens, head size] with logits of a given standard deviation."""

    description: str
    draw: Draw


def _normal(
    rng: np.random.Generator, tokens: int, head_size: int, logit_std: float
) -> tuple[Float64Array, Float64Array, Float64Array]:
    q, k, v = rng.standard_normal((3, tokens, head_size))
    return logit_std * q, k, v


DISTRIBUTIONS = {
    "normal": Distribution(
        "q, k, v independent N(0, 1), q times the logit standard deviation (SA's experiments at 1)", _normal
    ),
}


def _number(value: float) -> str:
    """Return the shortest text that reads back as the same number, 4 rather than 4.0."""
    return repr(value).removesuffix(".0")


@dataclass(frozen=True)
class SyntheticInput:
    """One head drawn from a distribution with PCG64 at a seed, then rounded to float32.

    The rounding makes the inputs exact in every arithmetic from float32 up, so that no quantisation enters there.
    logit_std: standard deviation of the logits s = q.k / sqrt(d_k) over the distribution, not over the draw.
    """

    distribution: str
    head_size: int
    tokens: int
    logit_std: float = 1.0
    seed: int = 0
    causal: bool = True
    kind: str = field(default="synthetic", init=False)

    def __post_init__(self) -> None:
        """Raise InvalidRequestError for parameters that describe no problem."""
        if self.distribution not in DISTRIBUTIONS:
            raise InvalidRequestError(
                f"unknown distribution {self.distribution!r}",
                "one of " + ", ".join(DISTRIBUTIONS),
                "choose one of these",
            )
        for label, value in (("head size", self.head_size), ("tokens", self.tokens)):
            if value < 1:
                raise InvalidRequestError(f"{label} {value}", "an integer of at least 1", "choose a larger one")
        if self.seed < 0:
            raise InvalidRequestError(f"seed {self.seed}", "an integer of at least 0", "choose a seed")
        if not 0 <= self.logit_std <= LARGEST_LOGIT_STD:
            raise InvalidRequestError(
                f"logit standard deviation {self.logit_std:g}", f"0 to {LARGEST_LOGIT_STD:g}", "choose a spread"
            )

    @property
    def name(self) -> str:
        """The distribution with everything that determines the draw."""
        shape = f"d={self.head_size},n={self.tokens},std={_number(self.logit_std)},seed={self.seed}"
        return f"{self.distribution}:{shape}" + ("" if self.causal else ",full")

    def load(self) -> Problem:
        """Draw the problem."""
        rng = np.random.Generator(np.random.PCG64(self.seed))
        drawn = DISTRIBUTIONS[self.distribution].draw(rng, self.tokens, self.head_size, self.logit_std)
        q, k, v = (array.astype(np.float32) for array in drawn)
        return Problem(q, k, v, causal=self.causal, name=self.name)
