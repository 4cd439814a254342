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
    verdicts = [case.verdict(attention, framework="torch", arithmetic=arithmetic) for case in cases(suite)]
    assert verdicts.count(Verdict.PASSED) > len(verdicts) / 2


def test_a_scale_that_is_off_fails_in_sixteen_bits() -> None:
    def attention(query: Any, key: Any, value: Any, is_causal: bool = False) -> Any:
        scale = 1.1 * query.shape[-1] ** -0.5
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=is_causal, scale=scale)

    with pytest.raises(AssertionError, match=r"random: .* rows are off"):
        assert_attention_close(attention, framework="torch", arithmetic="bfloat16+float32")


@pytest.mark.parametrize("arithmetic", ["float32", "bfloat16+float32"])
def test_its_gradients_pass(arithmetic: str) -> None:
    attention = torch.nn.functional.scaled_dot_product_attention
    how = {"framework": "torch", "arithmetic": arithmetic, "backward": True}
    verdicts = [case.verdict(attention, **how) for case in cases("quick")]
    assert verdicts.count(Verdict.PASSED) >= 20


def test_an_output_that_is_detached_or_scaled_in_the_gradient_alone_fails() -> None:
    sdpa = torch.nn.functional.scaled_dot_product_attention

    def detached(query: Any, key: Any, value: Any) -> Any:
        return sdpa(query, key.detach(), value)

    def scaled(query: Any, key: Any, value: Any) -> Any:
        output = sdpa(query, key, value)
        return 2 * output - output.detach()

    case = next(case for case in cases("quick") if str(case) == "random")
    for function, said in ((detached, "does not depend on k"), (scaled, "dq: 192 of 192 rows are off")):
        assert case.verdict(function, framework="torch") == Verdict.PASSED
        with pytest.raises(AssertionError, match=said):
            case.verdict(function, framework="torch", backward=True)
