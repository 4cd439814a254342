"""What forms round to factors, and the size of chunks: exactly, on inputs of a few numbers."""

import numpy as np
import pytest

from verify.attention.computed import normalised
from verify.attention.operands import logits_of, operands, scale_of
from verify.families.polynomial import forms as taylor
from verify.mechanisms.logexp import forms as logexp
from verify.mechanisms.logexp.mechanism import LOGEXP
from verify.mechanisms.taylor.mechanism import TAYLOR
from verify.numbers.arithmetic import ARITHMETICS, Arithmetic
from verify.numbers.rounding import correctly_rounded
from verify.problem import Problem

every_arithmetic = pytest.mark.parametrize("arithmetic", ARITHMETICS.values(), ids=ARITHMETICS.keys())


@every_arithmetic
def test_a_given_scale_is_a_number_of_the_sums_format(arithmetic: Arithmetic) -> None:
    scale = correctly_rounded(0.1, arithmetic.sums)
    # the other two lie beyond halfway between two numbers by less than float32 holds: rounding to it first is wrong
    for given in (0.1, 1 + 2.0**-8 + 2.0**-40, 1 + 2.0**-11 + 2.0**-40):
        assert float(scale_of(given, 4, arithmetic)) == correctly_rounded(given, arithmetic.sums)
    assert float(scale_of(1 + 2.0**-8 + 2.0**-40, 4, ARITHMETICS["bfloat16"])) == 1.0078125
    assert float(scale_of(1 + 2.0**-11 + 2.0**-40, 4, ARITHMETICS["float16"])) == 1.0009765625
    # one key, q = k = 1: nothing but the scale is rounded
    problem = Problem([[1.0]], [[1.0]], [[1.0]], scale=0.1)
    assert logits_of(problem, operands(problem, arithmetic)).tolist() == [[scale]]


@every_arithmetic
def test_weights_are_rounded_to_factors_before_either_sum(arithmetic: Arithmetic) -> None:
    # weights exp(0) and exp(-1): Z = 1 + the second as a factor, 1.367919921875 if those are float16
    problem = Problem([[1.0]], [[0.0], [-1.0]], [[1.0], [1.0]], scale=1.0)
    weights = np.exp(np.array([[0.0, -1.0]], dtype=arithmetic.dtype))
    factor = correctly_rounded(float(weights[0, 1]), arithmetic.factors)
    output = normalised(operands(problem, arithmetic), weights)
    assert output.normaliser.tolist() == [correctly_rounded(1.0 + factor, arithmetic.sums)]
    assert output.value.tolist() == [[1.0]]
    if arithmetic.factors.name == "float16":
        assert factor == 0.367919921875


@every_arithmetic
def test_weights_of_a_chunks_own_pairs_are_rounded_to_factors(arithmetic: Arithmetic) -> None:
    # a token alone, of weight 1 + s: with s = 0.1 as a factor, the sum needs more digits than a narrow factor has
    s = correctly_rounded(0.1, arithmetic.factors)
    problem = Problem([[1.0]], [[s]], [[1.0]], scale=1.0, causal=True)
    expected = correctly_rounded(correctly_rounded(1.0 + s, arithmetic.sums), arithmetic.factors)
    assert taylor.packed(problem, arithmetic, TAYLOR.member(order=1)).normaliser.tolist() == [expected]
    if arithmetic.name == "float16+float32":
        assert expected == 1.099609375 != 1.0 + s


@pytest.mark.parametrize(("tokens", "chunks"), [(64, 4), (256, 8), (4096, 8), (8192, 16)])
def test_chunks_are_an_eighth_of_the_tokens_within_bounds(tokens: int, chunks: int) -> None:
    # every chunk is added in one step, and beside 2**30, whose neighbours in float32 are 64 or more away, a chunk of
    # up to 512 values of 2**-4 is lost: all chunks but the first
    v = np.full((tokens, 1), 2.0**-4)
    v[0] = 2.0**30
    problem = Problem(np.ones((1, 1)), np.ones((tokens, 1)), v)
    for form in (taylor.packed, taylor.stream):
        assert form(problem, ARITHMETICS["float32"], TAYLOR.member(order=0)).hazards.lost_additions == chunks - 1


@pytest.mark.parametrize("name", ["float64", "float32", "bfloat16+float32"])
def test_keys_of_earlier_chunks_outweigh_later_ones(name: str) -> None:
    # exp(900) beside ones: the first value alone counts, long after its chunk; exp(900) itself overflows
    k, v = np.zeros((200, 2)), np.full((200, 1), 2.0)
    k[0], v[0] = 900.0, 1.0
    problem = Problem(np.zeros((200, 2)), k, v, causal=True)
    output = logexp.stream(problem, ARITHMETICS[name], LOGEXP.member())
    assert output.value.astype(np.float64).tolist() == [[1.0]] * 200
