"""torch's scaled_dot_product_attention passes what somebody's own function has to pass; what is wrong with it fails."""

from __future__ import annotations

from typing import Any

import pytest

from verify.check.judgement import Verdict
from verify.testing import assert_attention_close, cases

torch: Any = pytest.importorskip("torch", reason="torch is not installed: make torch runs these tests")


@pytest.mark.parametrize(
    ("arithmetic", "suite"),
    [
        *(("float32", suite) for suite in ("full", "sharp", "real")),
        *(("bfloat16+float32", suite) for suite in ("full", "sharp", "real")),
        ("float64", "quick"),
    ],
)
def test_it_passes(arithmetic: str, suite: str) -> None:
    attention = torch.nn.functional.scaled_dot_product_attention
    verdicts = [case.check(attention, framework="torch", arithmetic=arithmetic) for case in cases(suite)]
    assert verdicts.count(Verdict.PASSED) > len(verdicts) / 2


def test_a_scale_that_is_off_fails_in_sixteen_bits() -> None:
    def attention(query: Any, key: Any, value: Any, is_causal: bool = False) -> Any:
        scale = 1.1 * query.shape[-1] ** -0.5
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=is_causal, scale=scale)

    with pytest.raises(AssertionError, match=r"random: .* rows are off"):
        assert_attention_close(attention, framework="torch", arithmetic="bfloat16+float32")
