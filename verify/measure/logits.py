"""Statistics of logits over attended pairs, in float64, a few rows of a head at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verify.measure.tallies import along_rows
from verify.numbers.arrays import Float64Array
from verify.problem import Problem
from verify.problem.rows import rows_at_once

# Powers of the logits whose means are kept: a series of more terms is drawn as far as these go.
LOGIT_POWERS = 12


@dataclass(frozen=True, eq=False)
class LogitTally:
    """Logits of some rows [H, r] at attended pairs, sinks among them; NaN or infinite where they leave float64.

    largest: the largest |s| of each row.  count, mean, deviations: how many there are, their mean, and the sum of
    squared deviations from it.  powers: [H, r, LOGIT_POWERS], the sums of |s|, |s|^2, ...
    """

    largest: Float64Array
    count: Float64Array
    mean: Float64Array
    deviations: Float64Array
    powers: Float64Array

    @classmethod
    def of(cls, problem: Problem) -> LogitTally:
        """Take in all rows of a problem."""
        shape = problem.heads, problem.queries
        largest, count, mean, deviations = (np.zeros(shape) for _ in range(4))
        powers = np.zeros((*shape, LOGIT_POWERS))
        step = rows_at_once(problem, problem.keys)
        with np.errstate(over="ignore", invalid="ignore"):
            for head, place in zip(problem.each_head(), range(problem.heads), strict=True):
                for first in range(0, problem.queries, step):
                    some = slice(first, first + step)
                    attended = head.attended(some)
                    logits = np.where(attended, head.logits(some), 0.0)
                    size = np.abs(logits)
                    count[place, some] = own = attended.sum(axis=1)
                    largest[place, some] = size.max(axis=1, initial=0.0)
                    mean[place, some] = middle = logits.sum(axis=1) / np.maximum(own, 1)
                    apart = np.where(attended, logits - middle[:, None], 0.0)
                    deviations[place, some] = np.square(apart).sum(axis=1)
                    power = np.ones(size.shape)
                    for p in range(LOGIT_POWERS):
                        power *= size
                        powers[place, some, p] = power.sum(axis=1)
        return cls(largest, count, mean, deviations, powers)

    @classmethod
    def joined(cls, parts: Sequence[LogitTally]) -> LogitTally:
        """Return the tally of several blocks, in their order."""
        return cls(
            largest=along_rows([part.largest for part in parts]),
            count=along_rows([part.count for part in parts]),
            mean=along_rows([part.mean for part in parts]),
            deviations=along_rows([part.deviations for part in parts]),
            powers=along_rows([part.powers for part in parts]),
        )

    @property
    def statistics(self) -> tuple[float, float]:
        """The largest |logit| and the standard deviation of the logits.

        Means and sums of squared deviations are merged as T. F. Chan, G. H. Golub and R. J. LeVeque do (The American
        Statistician 37(3), 1983).
        """
        with np.errstate(over="ignore", invalid="ignore"):
            total = max(1.0, float(self.count.sum()))
            middle = float((self.count * self.mean).sum()) / total
            apart = float((self.deviations + self.count * np.square(self.mean - middle)).sum())
            return float(self.largest.max(initial=0.0)), float(np.sqrt(apart / total))

    @property
    def mean_powers(self) -> tuple[float, ...]:
        """The means of |s|^p, p = 1 .. LOGIT_POWERS: by these the sizes of the terms of a series are known."""
        with np.errstate(over="ignore", invalid="ignore"):
            total = max(1.0, float(self.count.sum()))
            return tuple((self.powers.sum(axis=(0, 1)) / total).tolist())


def logit_statistics(problem: Problem) -> tuple[float, float]:
    """Return the largest |logit| and the standard deviation of the logits of a problem over attended pairs."""
    return LogitTally.of(problem).statistics
