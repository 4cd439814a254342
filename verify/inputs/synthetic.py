"""Seeded synthetic inputs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from verify.arguments import checked_flag, checked_integer, checked_number, shortest
from verify.errors import InvalidRequestError, unknown
from verify.inputs.scenarios import LARGEST_LOGIT, SCENARIOS
from verify.problem import Problem


@dataclass(frozen=True)
class SyntheticInput:
    """One head drawn from a scenario with PCG64 at a seed, then rounded to float32.

    The rounding makes the inputs exact in every arithmetic from float32 up, so that no quantisation enters there.
    logit_std: a factor of q, or of what is random in it where all queries share a part (needle, sink).  In scenarios
    of independent q and k with variance 1 it is the standard deviation of the logits s = q.k / sqrt(d_k) over the
    distribution, not over the draw.
    parameters: (name, value) pairs, each name once, in any order: they are held sorted.  Those left out have their
    defaults, and do not stand in the name.

    Raises InvalidRequestError for anything that describes no problem.
    """

    scenario: str
    head_size: int
    tokens: int
    logit_std: float = 1.0
    seed: int = 0
    causal: bool = True
    kind: str = field(default="synthetic", init=False)
    parameters: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        """Check everything once, and bring parameters into one form: equal ones are then equal, and print the same."""
        if not isinstance(self.scenario, str) or self.scenario not in SCENARIOS:
            raise unknown(f"unknown scenario {self.scenario!r}", self.scenario, SCENARIOS)
        for name, least in (("head_size", 1), ("tokens", 1), ("seed", 0)):
            value = checked_integer(name.replace("_", " "), getattr(self, name), least)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "causal", checked_flag("causal", self.causal))
        object.__setattr__(self, "logit_std", checked_number("logit standard deviation", self.logit_std))
        if not 0 <= self.logit_std <= LARGEST_LOGIT:
            raise InvalidRequestError(
                f"logit standard deviation {self.logit_std:g}", f"0 to {LARGEST_LOGIT:g}", "choose a spread"
            )
        # adding zero turns -0.0 into 0.0, which is equal to it but prints otherwise
        given = tuple(sorted((name, float(value) + 0.0) for name, value in self.parameters))
        SCENARIOS[self.scenario].values(given, self.tokens)
        object.__setattr__(self, "parameters", given)

    @property
    def name(self) -> str:
        """The scenario with everything that determines the draw."""
        given = "".join(f"{name}={shortest(value)}," for name, value in self.parameters)
        shape = f"d={self.head_size},n={self.tokens},std={shortest(self.logit_std)},seed={self.seed}"
        return f"{self.scenario}:{given}{shape}" + ("" if self.causal else ",full")

    def load(self) -> Problem:
        """Draw the problem."""
        rng = np.random.Generator(np.random.PCG64(self.seed))
        scenario = SCENARIOS[self.scenario]
        values = scenario.values(self.parameters, self.tokens)
        drawn = scenario.draw(rng, self.tokens, self.head_size, self.logit_std, **values)
        q, k, v = (array.astype(np.float32) for array in drawn)
        return Problem(q, k, v, causal=self.causal, name=self.name)
