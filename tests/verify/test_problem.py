from __future__ import annotations

import re
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from verify.errors import InvalidRequestError
from verify.numbers.formats import FORMATS
from verify.problem import Problem

OK = np.zeros((2, 3))

BAD = {
    "head sizes": ({"q": np.zeros((2, 4)), "k": OK, "v": OK}, "q of head size 4 and k of head size 3"),
    "d = 0": ({"q": np.zeros((2, 0)), "k": np.zeros((2, 0)), "v": OK}, "a size of zero"),
    "d_v = 0": ({"q": OK, "k": OK, "v": np.zeros((2, 0))}, "a size of zero"),
    "k and v": ({"q": OK, "k": OK, "v": np.zeros((3, 3))}, "k and v that disagree"),
    "heads": ({"q": np.zeros((3, 2, 3)), "k": np.zeros((2, 2, 3)), "v": np.zeros((2, 2, 3))}, "leading dimensions"),
    "no heads": ({"q": np.zeros((2, 2, 3)), "k": np.zeros((0, 2, 3)), "v": np.zeros((0, 2, 3))}, "leading dimensions"),
    "dimensions": ({"q": np.zeros((1, 2, 3)), "k": OK, "v": OK}, "leading dimensions"),
    "one-dimensional": ({"q": np.zeros(3), "k": OK, "v": OK}, "at least two dimensions"),
    "nan": (
        {"q": np.array([[0, np.nan, 0]]), "k": OK, "v": OK},
        "q holds 1 value that is NaN or infinite, the first nan",
    ),
    "infinity": ({"q": OK, "k": OK, "v": np.full((2, 3), -np.inf)}, "6 values that are NaN or infinite"),
    "bfloat16 nan": ({"q": OK.astype(ml_dtypes.bfloat16) * np.nan, "k": OK, "v": OK}, "q holds 6 values"),
    "complex": ({"q": OK + 0j, "k": OK, "v": OK}, "q of type complex128"),
    "objects": ({"q": OK.astype(object), "k": OK, "v": OK}, "q of type object"),
    "huge integers": ({"q": np.full((2, 3), 2**60), "k": OK, "v": OK}, "integers beyond 2**53"),
    "scale": ({"q": OK, "k": OK, "v": OK, "scale": np.nan}, "scale nan"),
    "mask type": ({"q": OK, "k": OK, "v": OK, "mask": np.ones((2, 2))}, "a mask of type float64"),
    "mask shape": ({"q": OK, "k": OK, "v": OK, "mask": np.ones((3, 2), bool)}, "broadcasts to [2, 2]"),
    "alignment": ({"q": OK, "k": OK, "v": OK, "alignment": "left"}, "top-left, bottom-right"),
    "bias shape": ({"q": OK, "k": OK, "v": OK, "bias": np.ones((3, 2))}, "bias of shape [3, 2]; expected a shape that"),
    "bias nan": ({"q": OK, "k": OK, "v": OK, "bias": [[np.nan]]}, "bias holds nan at index [0, 0]"),
    "bias infinity": ({"q": OK, "k": OK, "v": OK, "bias": [[0.0, np.inf]]}, "bias holds inf at index [0, 1]"),
    "sink nan": ({"q": OK, "k": OK, "v": OK, "sinks": np.nan}, "sinks holds nan"),
    "sinks": (
        {"q": OK[None], "k": OK[None], "v": OK[None], "sinks": [1.0, 2.0]},
        "sinks of shape [2]; expected one for",
    ),
    "slopes": ({"q": OK, "k": OK, "v": OK, "alibi_slopes": [1.0]}, "alibi_slopes of shape [1]"),
    "soft cap": ({"q": OK, "k": OK, "v": OK, "softcap": -1.0}, "softcap -1; expected a number above 0"),
    "soft cap nan": ({"q": OK, "k": OK, "v": OK, "softcap": np.nan}, "softcap nan"),
    "window": ({"q": OK, "k": OK, "v": OK, "window": (-2, 0)}, "a window of -2"),
    "one window": ({"q": OK, "k": OK, "v": OK, "window": 3}, "window 3; expected two numbers"),
    "half a window": ({"q": OK, "k": OK, "v": OK, "window": (0.5, 0)}, "a window of 0.5"),
    "lengths": ({"q": OK, "k": OK, "v": OK, "lengths": 3}, "lengths of 3; expected whole numbers from 0 to n_k = 2"),
    "lengths below": ({"q": OK, "k": OK, "v": OK, "lengths": -1}, "lengths of -1"),
    "lengths of heads": ({"q": OK[None], "k": OK[None], "v": OK[None], "lengths": [1, 2]}, "lengths of shape [2]"),
    "no lengths": ({"q": OK, "k": OK, "v": OK, "lengths": 1.5}, "lengths of type float64"),
    "segments": ({"q": OK, "k": OK, "v": OK, "segments": [0, 1, 2]}, "segments of queries of shape [3]"),
    "segments below": ({"q": OK, "k": OK, "v": OK, "segments": [0, -1]}, "segments of queries of -1"),
    "three segments": ({"q": OK, "k": OK, "v": OK, "segments": ([0, 1],) * 3}, "3 arrays of segments"),
    "positions": ({"q": OK, "k": OK, "v": OK, "positions": [1, 2, 3]}, "positions of shape [3]"),
    "two positions": (
        {"q": OK, "k": OK, "v": OK, "positions": [1, 2], "alignment": "top-left"},
        "positions and an alignment; expected one of the two",
    ),
    "dropout": ({"q": OK, "k": OK, "v": OK, "dropout": 0.5}, "dropout 0.5 without what it drops"),
    "all dropped": ({"q": OK, "k": OK, "v": OK, "dropout": 1.0}, "dropout 1; expected a probability from 0, below 1"),
    "dropout mask": ({"q": OK, "k": OK, "v": OK, "dropout_mask": np.ones((2, 2))}, "a dropout_mask of type float64"),
    "descales": (
        {"q": OK[None], "k": OK[None], "v": OK[None], "k_descale": [1.0, 2.0]},
        "k_descale of shape [2]; expected one for each head",
    ),
    "fine descales": ({"q": OK, "k": OK + 0.1, "v": OK, "k_descale": 0.1}, "k times k_descale, which float64 rounds"),
    "no slopes alignment": (
        {"q": OK[:1], "k": OK, "v": OK, "alibi_slopes": 0.5},
        "alibi_slopes of 1 query over 2 keys without an alignment",
    ),
    "no alignment": ({"q": OK[:1], "k": OK, "v": OK, "causal": True}, "of 1 query over 2 keys without an alignment"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_says_what_is_wrong(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=re.escape(message)) as caught:
        Problem(**arguments)
    assert "expected" in str(caught.value)
    assert "\n" not in str(caught.value)


class Tensor:
    """What numpy meets in a tensor of torch."""

    def __init__(self, values: Any, refusal: Exception | None = None) -> None:
        self.values, self.refusal = np.asarray(values), refusal

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        if self.refusal is not None:
            raise self.refusal
        return self.values if dtype is None else self.values.astype(dtype)


def test_tensors_of_other_libraries_are_taken_or_refused_in_our_words() -> None:
    assert (
        Problem(Tensor(OK), OK, OK, mask=Tensor(np.eye(2, dtype=bool))).digest
        == Problem(OK, OK, OK, mask=np.eye(2, dtype=bool)).digest
    )
    refusals = (
        TypeError("Got unsupported ScalarType BFloat16"),
        RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."),
        TypeError("can't convert cuda:0 device type tensor to numpy.\nUse Tensor.cpu()"),
    )
    for refusal in refusals:
        for name in ("q", "k", "v", "bias", "sinks", "mask"):
            parts: dict[str, Any] = {"q": OK, "k": OK, "v": OK, name: Tensor(OK, refusal)}
            with pytest.raises(InvalidRequestError) as caught:
                Problem(**parts)
            assert str(caught.value).startswith(f"{name} of type Tensor (")
            assert "x.detach().cpu().float().numpy()" in str(caught.value)
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("alignment", "expected"),
    [("top-left", [[1, 0, 0], [1, 1, 0]]), ("bottom-right", [[1, 1, 0], [1, 1, 1]])],
)
def test_causal_alignment(alignment: str, expected: list[list[int]]) -> None:
    problem = Problem(OK, np.zeros((3, 3)), np.zeros((3, 3)), causal=True, alignment=alignment)
    assert problem.attended is not None
    np.testing.assert_array_equal(problem.attended, np.array(expected, bool))


def test_grouped_heads_share_keys_in_order() -> None:
    rng = np.random.default_rng(1)
    q, k, v = rng.standard_normal((6, 2, 3)), rng.standard_normal((2, 2, 3)), rng.standard_normal((2, 2, 3))
    for number, head in enumerate(Problem(q, k, v).each_head()):
        np.testing.assert_array_equal(head.q, q[number])
        np.testing.assert_array_equal(head.k, np.repeat(k, 3, axis=0)[number])
        np.testing.assert_array_equal(head.v, np.repeat(v, 3, axis=0)[number])


def test_narrow_formats_and_integers_are_exact() -> None:
    values = np.array([[0.1, -2.5]]).astype(ml_dtypes.bfloat16)
    assert Problem(values, values, values).q.tolist() == [[0.10009765625, -2.5]]
    assert Problem([[1, 2]], [[1, 2]], [[3]]).v.tolist() == [[3.0]]


def test_factors_of_heads_are_multiplied_exactly() -> None:
    rng = np.random.default_rng(26)
    q, k, v = (rng.standard_normal((heads, 3, 2)).astype(np.float32) for heads in (4, 2, 2))
    of_q, of_k = rng.standard_normal(4).astype(np.float32), rng.standard_normal(2).astype(np.float32)
    problem = Problem(q, k, v, q_descale=of_q, k_descale=of_k)
    expected = Problem(q * of_q.astype(float)[:, None, None], k * of_k.astype(float)[:, None, None], v)
    assert problem.digest == expected.digest
    assert problem.q_descale is not None
    assert problem.named("other").q_descale is problem.q_descale
    with pytest.raises(InvalidRequestError, match="q times q_descale, which float64 rounds"):
        Problem(q, k, v, q_descale=np.full(4, 0.1))
    with pytest.raises(InvalidRequestError, match=r"q_descale of shape \[2\]"):
        Problem(q, k, v, q_descale=of_k)


def test_inputs_cannot_be_changed_afterwards() -> None:
    mine = np.ones((2, 3))
    problem = Problem(mine, mine, mine)
    mine[0, 0] = 5.0
    assert problem.q[0, 0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        problem.q[0, 0] = 5.0


def test_masks_combine_with_causal_and_belong_to_heads() -> None:
    rng = np.random.default_rng(25)
    mask = rng.random((2, 3, 5)) < 0.6
    tokens = rng.standard_normal((2, 5, 4))
    problem = Problem(tokens[:, :3], tokens, tokens, causal=True, mask=mask, alignment="bottom-right", scale=0.3)
    for head in problem.each_head():
        expected = [[bool(mask[head.index][i, t]) and t <= i + 2 for t in range(5)] for i in range(3)]
        assert head.attended().tolist() == expected
    narrow = problem.rounded(FORMATS["float32"])
    assert narrow is not problem
    assert (narrow.scale, narrow.causal, narrow.alignment, narrow.name) == (0.3, True, "bottom-right", problem.name)
    np.testing.assert_array_equal(narrow.attended, problem.attended)
    assert problem.attended_rows.tolist() == [[row.any() for row in head.attended()] for head in problem.each_head()]


def test_rounding_to_a_format() -> None:
    with pytest.raises(InvalidRequestError, match="scale of problem holds 1e\\+80, which overflows float32"):
        Problem([[1.0]], [[1.0]], [[1.0]], scale=1e80).rounded(FORMATS["float32"])
    exact = Problem([[1.0, 0.5]], [[1.0, 0.5]], [[2.0]])
    assert exact.rounded(FORMATS["float32"]) is exact
    tie = 1 + 2**-24  # between 1 and the next float32, and 1 is even
    assert Problem([[tie]], [[1.0]], [[1.0]]).rounded(FORMATS["float32"]).q.tolist() == [[1.0]]
    with pytest.raises(InvalidRequestError, match="overflows float32"):
        Problem([[1e39]], [[1.0]], [[1.0]]).rounded(FORMATS["float32"])


def test_digest_tells_everything_that_matters_apart() -> None:
    one = np.ones((2, 3))
    problems = [
        Problem(one, one, one),
        Problem(2 * one, one, one),
        Problem(one, 2 * one, one),
        Problem(one, one, 2 * one),
        Problem(one, one, one, scale=1.0),
        Problem(one, one, one, causal=True),
        Problem(one, one, one, mask=np.ones((2, 2), bool)),
        Problem(one, one, one, mask=np.eye(2, dtype=bool)),
        Problem(one[None], one[None], one[None]),
        Problem(one[:1], one, one, causal=True, alignment="top-left"),
        Problem(one[:1], one, one, causal=True, alignment="bottom-right"),
    ]
    assert len({problem.digest for problem in problems}) == len(problems)
    assert Problem(one, one, one, name="another").digest == problems[0].digest
    assert Problem(one, one, one * np.float32(1), alignment="top-left").digest == problems[0].digest


def test_digest_does_not_tell_zeros_apart() -> None:
    # no formula here does
    zeros = np.array([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0]])
    expected = Problem(zeros, zeros, zeros).digest
    for place in range(3):
        q, k, v = (np.where(zeros == 0, -0.0, zeros) if i == place else zeros for i in range(3))
        assert Problem(q, k, v).digest == expected


@pytest.mark.parametrize("sign", [1, -1])
def test_integers_that_float64_rounds_are_refused(sign: int) -> None:
    largest = np.full((2, 3), sign * 2**53)
    assert Problem(largest, OK, OK).q[0, 0] == sign * 2.0**53
    for beyond in (2**53 + 1, 2**54 - 1):
        with pytest.raises(InvalidRequestError, match=r"q holds integers beyond 2\*\*53"):
            Problem(np.full((2, 3), sign * beyond), OK, OK)


@pytest.mark.parametrize("scale", [np.inf, -np.inf, np.nan])
def test_a_scale_is_finite(scale: float) -> None:
    with pytest.raises(InvalidRequestError, match=f"scale {scale}; expected a finite number"):
        Problem(OK, OK, OK, scale=scale)
