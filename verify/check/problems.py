"""What the problems of cases are made of: numbers of one arithmetic, in the shapes that one function takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from verify.check.interface import Interface
from verify.inputs import SyntheticInput, sample
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem import Problem


@dataclass(frozen=True)
class Kit:
    """What problems of a case are made with: numbers of the arithmetic's inputs, for one function."""

    interface: Interface
    arithmetic: Arithmetic
    seed: int

    @cached_property
    def rng(self) -> np.random.Generator:
        """Where the numbers of this case come from."""
        return np.random.default_rng((1501, self.seed))

    def normal(self, *shape: int) -> Float64Array:
        """Return N(0, 1) numbers."""
        return self.rng.standard_normal(shape)

    def problem(self, q: Any, k: Any, v: Any, **parts: Any) -> Problem:
        """Return a problem as the function takes it: rounded to inputs, one head if it takes one, causal if it is."""
        arrays = [self.held(x) for x in (q, k, v)]
        if self.interface.layout == "hsd":
            arrays = [x[0] for x in arrays]
        if self.interface.layout == "sd":
            arrays = [x[0, 0] for x in arrays]
        own: dict[str, Any] = {"scale": self.interface.scale, "causal": self.interface.causal}
        own |= {name: self._own(part) for name, part in parts.items()}
        if own["causal"]:
            own["alignment"] = "top-left"
        q, k, v = arrays
        return Problem(q, k, v, **own)

    def scale(self, size: int) -> float:
        """Return the scale that the function has for a head size."""
        return size**-0.5 if self.interface.scale is None else self.interface.scale

    def _own(self, part: Any) -> Any:
        """Return a part of the problem without axes that the layout lacks."""
        lost = {"hsd": 1, "sd": 2}.get(self.interface.layout, 0)
        if isinstance(part, np.ndarray) and part.ndim == 4:
            return part[(0,) * lost]
        return part

    def held(self, values: Any) -> Float64Array:
        """Return numbers rounded to the format of inputs."""
        return np.asarray(self.arithmetic.inputs.rounded(np.asarray(values, float)), dtype=np.float64)

    def random(self, queries: int, keys: int, size: int, heads: int = 2, **parts: Any) -> Problem:
        """Return N(0, 1) queries, keys and values in two sequences."""
        shapes = (2, heads, queries, size), (2, heads, keys, size), (2, heads, keys, size)
        q, k, v = (self.normal(*shape) for shape in shapes)
        return self.problem(q, k, v, **parts)


Build = Callable[[Kit], Problem]


def peaked(height: float, matches: int = 1) -> Build:
    """One key, or some, stand out for every query: their logits are higher by `height`."""

    def build(kit: Kit) -> Problem:
        size, keys = 64, 96
        u = kit.normal(size)
        u /= np.linalg.norm(u)
        q = kit.normal(2, 2, 40, size) + height / (2.0 * kit.scale(size)) * u
        k = kit.normal(2, 2, keys, size)
        k[..., np.linspace(0, keys - 1, matches + 2).astype(int)[1:-1], :] += 2.0 * u
        return kit.problem(q, k, kit.normal(2, 2, keys, size))

    return build


def large_logits(deviation: float, size: int = 16) -> Build:
    """Logits of a standard deviation; the largest are about four times as large."""

    def build(kit: Kit) -> Problem:
        q, k, v = kit.normal(3, 2, 2, 40, size)
        each = np.sqrt(deviation / (abs(kit.scale(size)) * np.sqrt(size)))
        return kit.problem(each * q, each * k, v)

    return build


def scaled_values(factor: Callable[[Arithmetic], float]) -> Build:
    """N(0, 1) values times a factor of the arithmetic."""

    def build(kit: Kit) -> Problem:
        q, k, v = kit.normal(3, 2, 2, 40, 32)
        return kit.problem(q, k, factor(kit.arithmetic) * v)

    return build


def values_around(mean: float) -> Build:
    """Values around a mean, of which any weights that add up to one give most."""

    def build(kit: Kit) -> Problem:
        q, k, v = kit.normal(3, 2, 2, 40, 32)
        return kit.problem(q, k, mean + v)

    return build


def few_keys(kit: Kit) -> Problem:
    """Five different keys, each several times."""
    q, k, v = kit.normal(3, 2, 2, 48, 32)
    return kit.problem(q, k[..., np.arange(48) % 5, :], v)


def without_queries(kit: Kit) -> Problem:
    """Queries of zero: all logits are equal."""
    k, v = kit.normal(2, 2, 2, 40, 32)
    return kit.problem(np.zeros(k.shape), k, v)


def small_queries(kit: Kit) -> Problem:
    """Logits near zero."""
    q, k, v = kit.normal(3, 2, 2, 40, 32)
    return kit.problem(1e-3 * q, k, v)


def constant_values(kit: Kit) -> Problem:
    """Values that are all the same."""
    q, k = kit.normal(2, 2, 2, 40, 32)
    return kit.problem(q, k, np.full(k.shape, 3.0))


def cancelling_values(kit: Kit) -> Problem:
    """Large values of both signs, whose weighted sum is small."""
    q, k, v = kit.normal(3, 2, 2, 64, 32)
    sign = np.where(np.arange(64) < 32, 1.0, -1.0)[:, None]
    return kit.problem(q / 8, k, 30.0 * sign + v)


def shifted_keys(kit: Kit) -> Problem:
    """Keys moved by one vector, which changes all logits of a row by the same."""
    q, k, v = kit.normal(3, 2, 2, 48, 32)
    return kit.problem(q, k + 2.0, v)


def masked(*, empty: bool = False, **parts: Any) -> Build:
    """Three keys of five are seen; empty: some rows see none."""

    def build(kit: Kit) -> Problem:
        mask = kit.rng.random((2, 2, 40, 56)) < 0.6
        mask[..., 0] = True
        if empty:
            mask[:, :, 3::7] = False
        return kit.random(40, 56, 32, mask=mask, **parts)

    return build


def added(*, hidden: bool = False) -> Build:
    """Numbers are added to logits; hidden: some of them minus infinity."""

    def build(kit: Kit) -> Problem:
        bias = kit.held(kit.normal(2, 2, 40, 56))
        if hidden:
            bias = np.where(kit.rng.random(bias.shape) < 0.3, -np.inf, bias)
            bias[..., 0] = 0.0
        return kit.random(40, 56, 32, bias=bias)

    return build


def grouped(groups: int = 2, *, causal: bool = False) -> Build:
    """Six heads of queries read so many of keys, each as often."""

    def build(kit: Kit) -> Problem:
        q, (k, v) = kit.normal(2, 6, 40, 32), kit.normal(2, 2, groups, 40, 32)
        return kit.problem(q, k, v, **({"causal": True} if causal else {}))

    return build


def masked_groups(kit: Kit) -> Problem:
    """Three heads of queries read one of keys, and three keys of five are seen, others by each."""
    q, (k, v) = kit.normal(2, 6, 40, 32), kit.normal(2, 2, 2, 40, 32)
    mask = kit.rng.random((2, 6, 40, 40)) < 0.6
    mask[..., 0] = True
    return kit.problem(q, k, v, mask=mask)


def with_sinks(*, causal: bool = False) -> Build:
    """A weight for each head that has no value."""

    def build(kit: Kit) -> Problem:
        given = {"causal": True} if causal else {}
        return kit.random(40, 40, 32, sinks=kit.held(2.0 * kit.normal(2)), **given)

    return build


def with_lengths(first: int, second: int) -> Build:
    """Keys of which only the first are there, by sequence."""

    def build(kit: Kit) -> Problem:
        return kit.random(40, 64, 32, lengths=first if kit.interface.layout in ("hsd", "sd") else [first, second])

    return build


def scenario_problem(scenario: str, std: float = 1.0, tokens: int = 128, size: int = 32) -> Build:
    """Two heads drawn from a scenario, in two sequences."""

    def build(kit: Kit) -> Problem:
        drawn = [
            SyntheticInput(scenario, size, tokens, logit_std=std, seed=kit.seed % 1000 + place).load()
            for place in range(2)
        ]
        arrays = [np.stack([getattr(p, label) for p in drawn]).reshape(1, 2, tokens, size) for label in "qkv"]
        return kit.problem(*(np.repeat(x, 2, axis=0) for x in arrays))

    return build


def sampled_layer(name: str) -> Build:
    """The first tokens of a shipped sample."""

    def build(kit: Kit) -> Problem:
        own = sample(name)
        q, k, v = (x.reshape((1, *x.shape[-3:]))[..., :96, :] for x in (own.q, own.k, own.v))
        if k.shape[1] != q.shape[1] and not kit.interface.grouped:
            k, v = (np.repeat(x, q.shape[1] // x.shape[1], axis=1) for x in (k, v))
        causal = own.causal and kit.interface.takes("causal")
        return kit.problem(q, k, v, **({"causal": True} if causal else {}))

    return build


def far_with_all(kit: Kit) -> Problem:
    """Return a problem that has, at 262,144 keys, everything that the function takes."""
    takes, keys, size = kit.interface.takes, 262_144, 16
    q, k, v = (kit.normal(1, 2, tokens, size) for tokens in (8, keys, keys))
    parts: dict[str, Any] = {}
    if takes("grouped"):
        q = kit.normal(1, 4, 8, size)
    if takes("mask"):
        mask = kit.rng.random((1, q.shape[1], 8, keys)) < 0.02  # what is hidden must weigh nothing, not little
        mask[..., :2] = True
        parts["mask"] = mask
    if takes("scale"):
        parts["scale"] = 0.2
    if takes("softcap"):
        parts["softcap"] = 2.0
    if takes("sinks"):  # as heavy as some thousand keys
        parts["sinks"] = kit.held(np.full(q.shape[1], np.log(keys / 100)))
    if takes("lengths"):
        parts["lengths"] = keys - 60_000 if kit.interface.layout in ("hsd", "sd") else [keys - 60_000]
    return kit.problem(q, k, v, **parts)


def far(keys: int) -> Build:
    """Eight queries that see many keys."""

    def build(kit: Kit) -> Problem:
        q, k, v = (kit.normal(1, 1, tokens, 64) for tokens in (8, keys, keys))
        return kit.problem(q, k, v)

    return build


def far_needle(kit: Kit) -> Problem:
    """Return a problem whose last key has about half of all weight: no chunk and no short index may lose it."""
    keys, size = 262_147, 32
    q, k, v = (kit.normal(1, 1, tokens, size) for tokens in (8, keys, keys))
    u = kit.normal(size)
    u /= np.linalg.norm(u)
    k[..., -1, :] = np.log(keys) / (4.0 * kit.scale(size)) * u
    return kit.problem(q + 4.0 * u, k, v)
