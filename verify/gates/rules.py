"""Public acceptance rules for attention kernels, as data: what each asks, where it stands, how it decides.

They are emulated in float64 on outputs that are rounded to their format; where a project compares in 16 bits itself,
or runs its plain attention with logits in 16 bits, it may decide otherwise close to its tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from verify.gates.case import Case
from verify.measure.metrics import root_mean_square
from verify.numbers.arrays import Float64Array


class Judge(Protocol):
    """Anything that accepts or rejects answers and can say by what."""

    @property
    def name(self) -> str:
        """How it is called on the command line."""

    @property
    def words(self) -> str:
        """What it asks, in a sentence."""

    @property
    def source(self) -> Source:
        """Where it stands."""

    def accepts(self, case: Case) -> bool:
        """Return whether it accepts the answer of a case."""


@dataclass(frozen=True)
class Source:
    """Where a rule stands: project, file, and the version that was read.

    confirmed: whether the rule was read there; otherwise it is as somebody reports it.
    """

    project: str
    place: str
    version: str
    confirmed: bool = True

    @property
    def text(self) -> str:
        """All of it on one line."""
        return f"{self.project}, {self.place}, {self.version}" + ("" if self.confirmed else " (as reported)")


@dataclass(frozen=True)
class Rule:
    """A rule with the numbers it has, given to the function that decides."""

    name: str
    words: str
    source: Source
    decides: Callable[[Case], bool]

    def accepts(self, case: Case) -> bool:
        """Return whether the rule accepts the answer of a case; NaN on the way is nobody's warning."""
        with np.errstate(all="ignore"):
            return bool(self.decides(case))


# Absolute and relative tolerances by the format of the output
Tolerances = Mapping[str, tuple[float, float]]


def close_to_plain(case: Case, *, tolerance: Tolerances) -> bool:
    """Return whether |plain - found| <= atol + rtol |found| everywhere: allclose(reference, answer) in that order."""
    absolute, relative = tolerance[case.arithmetic.output.name]
    return _all_below(np.abs(case.plain - case.found), absolute + relative * np.abs(case.found))


def close(case: Case, *, tolerance: Tolerances) -> bool:
    """Return whether |found - y| <= atol + rtol |y| everywhere, y the exact output in the output's format."""
    absolute, relative = tolerance[case.arithmetic.output.name]
    return _all_below(np.abs(case.found - case.rounded), absolute + relative * np.abs(case.rounded))


def matched(case: Case, *, absolute: float, relative: float, share: float) -> bool:
    """Return whether enough elements are right absolutely or relatively, and all of them are finite.

    Relative errors are |found - y| / (|y| + 1e-8).  The count alone would take NaN for a match, as NaN exceeds nothing.
    """
    if not np.isfinite(case.found).all():
        return False
    error = np.abs(case.found - case.rounded)
    off = (error > absolute) & (error / (np.abs(case.rounded) + 1e-8) > relative)
    return 1.0 - int(np.count_nonzero(off)) / max(1, off.size) >= share


def excused(case: Case, *, excuse: float, ratio: float, least: float) -> bool:
    """Return whether the ratio of root mean squares is below its tolerance, or an excuse makes it a warning.

    An excuse is a largest error of at most `excuse`, or a ratio below 0.01; errors up to `least` are not looked at.
    """
    error = np.abs(case.found - case.rounded)
    largest = _largest(error)
    if largest <= least:
        return True
    if np.isnan(case.found).any() or np.isnan(case.rounded).any():
        return False
    share = root_mean_square(error) / (root_mean_square(np.abs(case.rounded)) + 1e-8)
    return share < 0.01 or largest <= excuse or share < ratio


def multiple(case: Case, *, factor: float, added: float) -> bool:
    """Return whether max |found - exact| <= factor max |plain - exact| + added."""
    return _largest(case.found - case.exact) <= factor * _largest(case.plain - case.exact) + added


def multiple_or(case: Case, *, factor: float, least: float) -> bool:
    """Return whether max |found - exact| does not exceed factor max |plain - exact|, or `least` if that is more.

    NaN is rejected where the plain run has none; where both have it, nothing is compared and the answer is accepted.
    """
    error, plain = _largest(case.found - case.exact), _largest(case.plain - case.exact)
    if np.isnan(error) and not np.isnan(plain):
        return False
    return not error > max(least, factor * plain)


def multiple_of_mean(case: Case, *, factors: Mapping[str, float]) -> bool:
    """Return whether mean |found - exact| does not exceed that of a plain run times a factor by the output's format."""
    error, plain = (float(np.abs(x - case.exact).mean()) for x in (case.found, case.plain))
    return error <= factors[case.arithmetic.output.name] * plain


def close_by_plain(case: Case, *, least: Tolerances) -> bool:
    """Return whether found is close to the exact output by tolerances that a plain run leaves.

    The absolute one is its largest error, the relative one its largest relative error over all elements, also of those
    next to zero; neither is below `least`, and a relative one above 1e30 is that again.
    """
    absolute, relative = least[case.arithmetic.output.name]
    off = np.abs(case.plain - case.exact)
    apart = off / np.abs(case.exact)
    widest = max(relative, float(np.where(np.isnan(apart), relative, apart).max(initial=0.0)))
    widest = relative if widest > 1e30 else widest
    allowed = max(_largest(off), absolute) + widest * np.abs(case.rounded)
    return _all_below(np.abs(case.found - case.rounded), allowed)


def close_in_angle(case: Case, *, absolute: float, relative: float, angle: float) -> bool:
    """Return whether every element is right absolutely or relatively, and 1 - 2 x.y / (x.x + y.y) is at most `angle`.

    Relative errors are |x - y| / (|y| + 1e-6), y the exact output in the output's format.
    """
    x, y = case.found, case.rounded
    error = np.abs(x - y)
    if not ((error < absolute) | (error / (np.abs(y) + 1e-6) < relative)).all():
        return False
    length = float(np.square(y).sum())
    return length < 1e-12 or abs(1.0 - 2.0 * float((x * y).sum()) / (float(np.square(x).sum()) + length)) <= angle


def _all_below(error: Float64Array, allowed: Float64Array) -> bool:
    """Return whether no error exceeds what is allowed; one that is not finite does, as torch's isclose has it."""
    return bool((np.isfinite(error) & (error <= allowed)).all())


def _largest(error: Float64Array) -> float:
    """Return the largest |e|, NaN if there is one: as torch's max has it."""
    return float(np.abs(error).max(initial=0.0))


# torch.testing.assert_close, and what tests of attention take from it: (atol, rtol)
_ASSERT_CLOSE = {
    "float64": (1e-7, 1e-7),
    "float32": (1e-5, 1.3e-6),
    "float16": (1e-5, 1e-3),
    "bfloat16": (1e-5, 1.6e-2),
}
_ATTENTION = {"float32": (1e-5, 1.3e-6), "float16": (1e-3, 1e-3), "bfloat16": (1e-3, 1.6e-2)}
_BENCHMARK = {"float32": (1e-4, 1e-4), "float16": (1e-2, 1e-2), "bfloat16": (1e-2, 1e-2)}

_FLASHINFER = "flashinfer_bench/bench/evaluators"
_FLASHINFER_VERSION = "v0.1.2 and 98 commits, 40e6ca78, April 2026"
_TORCH_TESTS = "test/test_transformers.py"
_SINCE = "since pull request 131743, July 2024"

RULES = {
    rule.name: rule
    for rule in (
        Rule(
            "kernelbench",
            "every element within 1e-2 + 1e-2 |answer| of a plain run in 16 bits (1e-4 in float32)",
            Source("KernelBench", "src/kernelbench/eval.py", "0.2.0.dev0, 423217d, March 2026"),
            partial(close_to_plain, tolerance=_BENCHMARK),
        ),
        Rule(
            "flashinfer-bench",
            "every element within 1e-2 of the exact value, absolutely or relatively",
            Source("FlashInfer-Bench", f"{_FLASHINFER}/default.py", _FLASHINFER_VERSION),
            partial(matched, absolute=1e-2, relative=1e-2, share=1.0),
        ),
        Rule(
            "flashinfer-95",
            "95 % of the elements within 1e-2 of the exact value, absolutely or relatively",
            Source("FlashInfer-Bench", f"{_FLASHINFER}/lowbit.py", _FLASHINFER_VERSION),
            partial(matched, absolute=1e-2, relative=1e-2, share=0.95),
        ),
        Rule(
            "fla-ci",
            "in continuous integration no element more than 0.3 off, or a root mean square error below 1 % (0.5 %"
            " elsewhere)",
            Source("flash-linear-attention", "fla/utils/_testing.py", "0.5.2 and 47 commits, bc3b101d, August 2026"),
            partial(excused, excuse=0.3, ratio=0.005, least=1e-6),
        ),
        Rule(
            "flash-attention",
            "the largest error at most twice that of a plain run, and 1e-5 more",
            Source("flash-attention", "tests/test_flash_attn.py", "2.8.4, 0251105a, August 2026"),
            partial(multiple, factor=2.0, added=1e-5),
        ),
        Rule(
            "torch-sdpa-4",
            "the largest error at most 4 times that of a plain run, or 1e-5: efficient attention with a mask",
            Source("PyTorch", _TORCH_TESTS, _SINCE),
            partial(multiple_or, factor=4.0, least=1e-5),
        ),
        Rule(
            "torch-sdpa",
            "the largest error at most 5 times that of a plain run, or 1e-5: what tests of attention have by default",
            Source("PyTorch", _TORCH_TESTS, _SINCE),
            partial(multiple_or, factor=5.0, least=1e-5),
        ),
        Rule(
            "torch-sdpa-before",
            "every element within the largest error and the largest relative error that a plain run has anywhere",
            Source("PyTorch", _TORCH_TESTS, "00030eb8, before pull request 131743, July 2024"),
            partial(close_by_plain, least=_ATTENTION),
        ),
        Rule(
            "flex-attention",
            "the average error at most 1.1 times that of a plain run (10 times in float32)",
            Source("PyTorch", "test/inductor/test_flex_attention.py", "00125ef3"),
            partial(multiple_of_mean, factors={"float32": 10.0, "float16": 1.1, "bfloat16": 1.1}),
        ),
        Rule(
            "assert-close",
            "torch.testing.assert_close by type: relative 1.6e-2 in bfloat16, 1e-3 in float16, 1.3e-6 in float32;"
            " absolute 1e-5",
            Source("PyTorch", "torch/testing/_comparison.py", "003029b0"),
            partial(close, tolerance=_ASSERT_CLOSE),
        ),
        Rule(
            "flash-mla",
            "every element within 8e-4 or 2.01/128 of itself, and the whole within an angle: 1 - 2 x.y / (x.x + y.y) at"
            " most 5e-6",
            Source("FlashMLA", "tests/test_flash_mla_dense_decoding.py", "9241ae3e, April 2026"),
            partial(close_in_angle, absolute=8e-4, relative=2.01 / 128, angle=5e-6),
        ),
    )
}
