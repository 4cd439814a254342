"""Gradients as a careful computation finds them, step by step; its steps may round, or be moved as rounding moves them.

With p = w / Z, r = w' / Z, y = P V, g = dout V^T and delta = rowsum(dout * y) (T. Dao et al., arXiv 2205.14135,
appendix B, where w' = w):

    dS = r (g - delta),    dQ = scale dS K,    dK = scale dS^T Q,    dV = P^T dout,

and dS is multiplied by 1 - (s / cap)^2 where logits are capped.  Weights and dS are factors, y is an output; the rest
are sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.attention.contract import Member
from verify.numbers.arithmetic import ARITHMETICS, Arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem import Head, Problem

NAMES = ("dq", "dk", "dv")

# Draws of roundings that their size is measured with, and the unit roundoff they are drawn with: answers of float64
# follow it, and are 2^-28 off by their own roundings.
_DRAWS = 8
_UNIT = 2.0**-25


@dataclass(frozen=True)
class Steps:
    """What becomes of the result of a step: nothing, in float64."""

    arithmetic: Arithmetic = ARITHMETICS["float64"]

    def factor(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return a result that is a factor of a matrix product."""
        return x

    def sum(self, x: NDArray[Any], size: Any = None) -> NDArray[Any]:
        """Return a result in the format of sums; size: of what it is off by, in unit roundoffs, if not its own."""
        return x

    def output(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the output in its format, as the carrier has it."""
        return x

    def gradient(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return a gradient in the format of outputs."""
        return x

    def product(self, left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
        """Return a matrix product, added up in the format of sums."""
        return np.asarray(left @ right)


@dataclass(frozen=True)
class Rounded(Steps):
    """Every result is rounded to its format."""

    def factor(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return it rounded."""
        return self.arithmetic.as_factor(x)

    def sum(self, x: NDArray[Any], size: Any = None) -> NDArray[Any]:
        """Return it rounded."""
        return self.arithmetic.as_sum(x)

    def output(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return it rounded."""
        return self.arithmetic.as_output(x).astype(self.arithmetic.dtype)

    def gradient(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return it rounded."""
        return self.output(x)

    def product(self, left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
        """Return it, every sum rounded."""
        return self.arithmetic.product(left, right)


@dataclass(frozen=True)
class Moved(Steps):
    """Results of one kind are off by normal numbers, of the size of a unit roundoff that is `_UNIT`.

    kind: the name of the step.  of: the arithmetic whose formats are meant.  Numbers below the smallest normal one of
    their format are off as that one is.  A sum of n products is off by sqrt(n) units of its largest partial sum (N. J.
    Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, section 4.2), which is about the sum, or the
    root of the sum of their squares.
    """

    of: Arithmetic = ARITHMETICS["float64"]
    rng: np.random.Generator = field(default_factory=np.random.default_rng)
    kind: str = ""

    def _moved(self, kind: str, x: NDArray[Any], size: Any) -> NDArray[Any]:
        return np.asarray(x + _UNIT * size * self.rng.standard_normal(x.shape)) if kind == self.kind else x

    def factor(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return it, off by a unit of factors."""
        size = np.where(x == 0.0, 0.0, np.maximum(np.abs(x), 2.0**self.of.factors.min_exponent))
        return self._moved("factor", x, size)

    def sum(self, x: NDArray[Any], size: Any = None) -> NDArray[Any]:
        """Return it, off by a unit of sums."""
        return self._moved("sum", x, np.abs(x) if size is None else size)

    def output(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return it, off by a unit of outputs."""
        size = np.where(x == 0.0, 0.0, np.maximum(np.abs(x), 2.0**self.of.output.min_exponent))
        return self._moved("output", x, size)

    def gradient(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return it, off by a unit of outputs."""
        size = np.where(x == 0.0, 0.0, np.maximum(np.abs(x), 2.0**self.of.output.min_exponent))
        return self._moved("gradient", x, size)

    def product(self, left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
        """Return it, off by what its sums are."""
        found = left @ right
        count = (left != 0.0).astype(float) @ (right != 0.0).astype(float)
        size = np.maximum(np.abs(found), np.sqrt(np.square(left) @ np.square(right)))
        return self._moved("sum", found, np.sqrt(count) * size)


def rounded_gradients(
    problem: Problem, dout: Float64Array, member: Member, arithmetic: Arithmetic
) -> dict[str, Float64Array]:
    """Return gradients of q, k and v, every step rounded to the arithmetic."""
    return _gradients(problem, dout, member, Rounded(arithmetic))


# What a gradient may lack: see `float_gradients`.
PARTS = ("delta", "slope of the cap", "other heads")


def float_gradients(problem: Problem, dout: Float64Array, member: Member, without: str = "") -> dict[str, Float64Array]:
    """Return gradients of q, k and v in float64, or what is left of them without one of `PARTS`.

    other heads: of a group, the last head of queries counts alone.
    """
    return _gradients(problem, dout, member, Steps(), without)


@dataclass(frozen=True, eq=False)
class GradientNoise:
    """How far off gradients are by rounding, by element, root mean square over draws: at the end, and before it.

    before: before gradients are rounded to the format of outputs.
    """

    size: dict[str, Float64Array]
    before: dict[str, Float64Array]


def gradient_noise(problem: Problem, dout: Float64Array, member: Member, arithmetic: Arithmetic) -> GradientNoise:
    """Return how far a careful computation is off by rounding.

    Roundings of factors, sums and outputs are drawn each by itself, with a unit roundoff that float64 resolves; what
    they do is multiplied by the unit roundoff of their format, as small changes go, and squares are added up.
    """
    rng = np.random.default_rng(1503)
    plain = float_gradients(problem, dout, member)
    sizes = {name: np.zeros(array.shape) for name, array in plain.items()}
    before = sizes
    output = arithmetic.output
    formats = {"factor": arithmetic.factors, "sum": arithmetic.sums, "output": output, "gradient": output}
    for kind, format_ in formats.items():
        steps = Moved(of=arithmetic, rng=rng, kind=kind)
        for _ in range(_DRAWS):
            found = _gradients(problem, dout, member, steps)
            for name in NAMES:
                change = (found[name] - plain[name]) / _UNIT * 2.0**-format_.precision
                sizes[name] = np.hypot(sizes[name], change / np.sqrt(_DRAWS))
        if kind == "output":
            before = {name: size.copy() for name, size in sizes.items()}
    return GradientNoise(sizes, before)


def _gradients(
    problem: Problem, dout: Float64Array, member: Member, steps: Steps, without: str = ""
) -> dict[str, Float64Array]:
    arithmetic, kind = steps.arithmetic, steps.arithmetic.dtype
    found = {f"d{label}": np.zeros(getattr(problem, label).shape, kind) for label in "qkv"}
    with np.errstate(all="ignore"):
        for head in problem.each_head():
            own = {"dq": head.index, "dk": problem.shared_head(head.index), "dv": problem.shared_head(head.index)}
            for name, array in _of_head(head, arithmetic.as_input(dout[head.index]), member, steps, without):
                place: Any = (*own[name], slice(len(array)))
                before = 0 if without == "other heads" else found[name][place]
                found[name][place] = steps.sum(before + array)
        return {name: steps.gradient(array).astype(np.float64) for name, array in found.items()}


def _of_head(
    head: Head, dout: NDArray[Any], member: Member, steps: Steps, without: str
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield gradients of one head's q, k and v, those of outputs that are not rounded yet."""
    arithmetic = steps.arithmetic
    q, k, v = (arithmetic.as_input(x) for x in (head.q, head.k, head.v))
    scale, attended = arithmetic.as_sum_constant(head.float_scale), head.attended()
    scaled = steps.sum(steps.product(q, k.T) * scale)
    capped, inner = scaled, None
    if head.softcap is not None:
        cap = arithmetic.as_sum_constant(head.softcap)
        part = steps.sum(np.tanh(steps.sum(scaled / cap)), 4.0 * (scaled != 0))
        capped = steps.sum(part * cap)
        inner = steps.sum(1 - part * part, 1.0)
    added = capped if head.bias is None else steps.sum(capped + arithmetic.as_input(head.bias))
    logits = added
    if head.sink is not None:
        column = np.full((len(q), 1), arithmetic.as_sum_constant(head.sink))
        logits = np.concatenate([added, column], axis=1)
    top = np.where(attended, logits, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0.0).astype(logits.dtype)
    # a logit is rounded twice, and once less the largest or times log2 e; exp errs by some units of its own
    logits = steps.sum(logits, np.where(attended, 2 * np.abs(logits) + 2 * np.abs(logits - top) + 4.0, 0.0))
    derived = member.mechanism.slopes(logits, attended, member, arithmetic)
    assert derived is not None, "gradients of this mechanism were asked for"
    zero = arithmetic.dtype.type(0)
    weights, slopes = (np.where(attended, x, zero) for x in derived)
    total = steps.product(weights, np.ones((weights.shape[1], 1), weights.dtype))
    total = steps.sum(total, np.abs(total) * (1 + np.abs(top)))  # of those who keep its logarithm
    keys = len(k)
    seen = total != 0
    shares, rates = (np.where(seen, steps.sum(x / total), zero)[:, :keys] for x in (weights, slopes))
    kept = steps.factor(shares)
    y = steps.output(steps.product(kept, v))
    delta = steps.product(steps.sum(dout * y), np.ones((v.shape[1], 1), v.dtype))
    if without == "delta":
        delta = np.zeros_like(delta)
    change = steps.sum(rates * steps.sum(steps.product(dout, v.T) - delta))
    if inner is not None and without != "slope of the cap":
        change = steps.sum(change * inner)
    change = steps.factor(change)
    yield "dq", steps.sum(steps.product(change, k) * scale)
    yield "dk", steps.sum(steps.product(np.ascontiguousarray(change.T), q) * scale)
    yield "dv", steps.product(np.ascontiguousarray(kept.T), dout)
