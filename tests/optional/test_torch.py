"""torch, on the CPU in float64, against exact values and exact gradients; `make torch` installs it and runs this.

Left out are rows that see nothing: torch's answer is NaN or 0, by version and kernel, and here it is 0.  With is_causal
and a scale of 0 or below, the kernel that torch 2.13 and 2.14 take by themselves hides keys by minus infinity before it
multiplies by the scale, and gives NaN: there the plain kernel is asked.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.gradient_bounds import gradient_bounds
from tests.people import drawn, seen_by, standing
from tests.sdpa import arguments
from verify import Problem
from verify.attention.variant import Variant
from verify.errors import InvalidRequestError
from verify.mechanisms import named_member
from verify.numbers.arithmetic import ARITHMETICS
from verify.truth import reference
from verify.truth.gradients import gradients

torch: Any = pytest.importorskip("torch", reason="torch is not installed: make torch runs these tests")

# torch multiplies q and k by the root of the scale each, four roundings that the bound does not count beside the d_k or
# more that it does; up to 512 keys it adds up as the bound says, and beyond with an exponential for each part, which is
# one of hundreds of roundings.
OTHER_ORDER = 5.0
SOFTMAX = Variant(named_member("softmax"), "softmax")
FLOAT64 = ARITHMETICS["float64"]

# The least numbers that a bound makes sense for: below them results of float64 are lost to underflow.
SMALLEST = 2.0**-1000

ARGUMENTS = 200
GRADIENTS = 120


def tensors(given: dict[str, Any], **how: Any) -> dict[str, Any]:
    return {name: torch.tensor(x, **how) if isinstance(x, np.ndarray) else x for name, x in given.items()}


def attention(**given: Any) -> Any:
    if given.get("is_causal") and given.get("scale", 1.0) <= 0:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            return torch.nn.functional.scaled_dot_product_attention(**given)
    return torch.nn.functional.scaled_dot_product_attention(**given)


def excess(computed: NDArray[Any], problem: Problem, factor: float = OTHER_ORDER) -> int:
    """Return how many elements, of rows that see something, are further from exact values than rounding may bring."""
    truth = reference(problem, 25)
    bound = SOFTMAX.rounding_bound(problem, truth.value, FLOAT64)
    assert bound is not None
    assert np.isfinite(bound.sure).all()
    assert computed.shape == problem.output_shape
    allowed = factor * bound.sure + truth.radius + np.spacing(np.abs(truth.value)) + SMALLEST
    rows = problem.attended_rows[..., None]
    return int((rows & ~(np.abs(computed - truth.value) <= allowed)).sum())


@pytest.mark.parametrize("part", range(4))
def test_scaled_dot_product_attention_is_what_from_sdpa_asks(part: int) -> None:
    rows = 0
    for seed in range(part, ARGUMENTS, 4):
        given = arguments(seed, keys=600 if seed % 20 == 0 else 12)
        problem = Problem.from_sdpa(**given)
        rows += int(problem.attended_rows.sum())
        assert excess(attention(**tensors(given)).numpy(), problem) == 0, seed
    assert rows > 500


def test_the_bound_is_not_so_wide_that_it_lets_anything_pass() -> None:
    noticed = {"alignment": 0, "error": 0, "nan": 0, "float32": 0}
    for seed in range(60):
        given = arguments(seed)
        problem, asked = Problem.from_sdpa(**given), tensors(given)
        computed = attention(**asked).numpy()
        if problem.alignment is not None:
            noticed["alignment"] += excess(computed, problem.but(alignment="bottom-right")) > 0
        noticed["nan"] += excess(np.full_like(computed, np.nan), problem) > 0
        noticed["error"] += excess(computed * (1 + 1e-11), problem) > 0
        narrow = {name: x.float() if torch.is_tensor(x) and x.is_floating_point() else x for name, x in asked.items()}
        noticed["float32"] += excess(attention(**narrow).double().numpy(), problem) > 0
    assert noticed["nan"] == 60
    assert noticed["error"] > 50
    assert noticed["float32"] > 50
    assert noticed["alignment"] > 10


def composed(given: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Return the leaves, and attention by single steps of torch, with the sink as a column of its own.

    Rows that see nothing are set to 0 after a softmax over all keys, so that nothing that is NaN flows back from them.
    """
    q, k, v = (torch.tensor(given[name], requires_grad=True) for name in "qkv")
    leaves, shape = {"dq": q, "dk": k, "dv": v}, (*given["q"].shape[:3], given["k"].shape[2])
    seen = np.zeros(shape, np.bool_)
    for place in np.ndindex(*shape[:3]):
        seen[place][seen_by(given, *place)] = True
    members = q.shape[1] // k.shape[1]
    scale = q.shape[3] ** -0.5 if given.get("scale") is None else given["scale"]
    logits = scale * (q @ k.repeat_interleave(members, 1).transpose(2, 3))
    if "softcap" in given:
        logits = given["softcap"] * torch.tanh(logits / given["softcap"])
    if "bias" in given:
        leaves["dbias"] = torch.tensor(np.where(np.isinf(given["bias"]), 0.0, given["bias"]), requires_grad=True)
        logits = logits + leaves["dbias"]
    if "alibi_slopes" in given:
        stand = [standing(given, b) for b in range(shape[0])]
        apart = torch.tensor(np.array([np.abs(np.subtract.outer(*places)) for places in stand], float))
        logits = logits - torch.tensor(given["alibi_slopes"])[:, None, None] * apart[:, None]
    nothing = ~torch.tensor(seen).any(3, keepdim=True)
    logits = logits.masked_fill(~torch.tensor(seen) & ~nothing, float("-inf"))
    if "sinks" in given:
        leaves["dsinks"] = torch.tensor(given["sinks"], requires_grad=True)
        column = leaves["dsinks"][:, None, None].expand(*shape[:3], 1)
        logits = torch.cat([logits, column], 3)
    weights = torch.softmax(logits, 3)[..., : shape[3]]
    if "dropout_mask" in given:
        weights = weights * torch.tensor(given["dropout_mask"]) / (1 - given["dropout"])
    output = weights @ v.repeat_interleave(members, 1)
    return leaves, torch.where(nothing, 0.0, output)


def wrong(found: dict[str, Any], problem: Problem, dout: NDArray[Any]) -> list[str]:
    """Return which gradients are further from exact ones than rounding may bring."""
    exact, bounds = gradients(problem, dout, 25), gradient_bounds(problem, dout)
    assert bounds.keys() == exact.balls.keys()
    assert found.keys() >= bounds.keys()
    names = []
    for name, bound in bounds.items():
        value = exact.value(name)
        assert np.isfinite(bound).all()
        allowed = bound + exact.radius(name) + np.spacing(np.abs(value)) + SMALLEST
        if found[name].shape != value.shape or not (np.abs(found[name] - value) <= allowed).all():
            names.append(name)
    return names


def of_autograd(seed: int) -> tuple[dict[str, Any], Problem, NDArray[Any]]:
    """Return gradients by torch, a problem without lowest biases, whose logits leave no digits, and a dout."""
    given = drawn(20000 + seed)
    if "bias" in given:
        given["bias"][given["bias"] < -1e30] = -2.0
    problem = Problem(**given)
    dout = np.random.default_rng((1702, seed)).standard_normal(problem.output_shape)
    leaves, output = composed(given)
    output.backward(torch.tensor(dout))
    return {name: leaf.grad.numpy() for name, leaf in leaves.items()}, problem, dout


@pytest.mark.parametrize("part", range(3))
def test_autograd_of_single_steps_lies_within_the_bound(part: int) -> None:
    names: list[str] = []
    for seed in range(part, GRADIENTS, 3):
        found, problem, dout = of_autograd(seed)
        assert wrong(found, problem, dout) == [], seed
        names += found
    assert names.count("dbias") >= 3
    assert names.count("dsinks") >= 3


def test_planted_errors_of_gradients_are_noticed() -> None:
    planted = 0
    for seed in range(0, GRADIENTS, 8):
        found, problem, dout = of_autograd(seed)
        for name in gradient_bounds(problem, dout).keys() & found.keys():
            off = found[name].copy()
            off.flat[-1] += 1e-9 * (1.0 + np.abs(off).max())
            for array in (found[name] * np.nan, off, found[name].ravel()[:-1]):
                assert wrong(found | {name: array}, problem, dout) == [name], (seed, name)
                planted += 1
    assert planted > 100


def test_autograd_of_scaled_dot_product_attention_lies_within_the_bound() -> None:
    for seed in range(300, 300 + GRADIENTS // 2):
        given = arguments(seed, seen=True)
        problem = Problem.from_sdpa(**given)
        asked = tensors(given)
        leaves = {f"d{name[0]}": asked[name].requires_grad_() for name in ("query", "key", "value")}
        dout = np.random.default_rng((1703, seed)).standard_normal(problem.output_shape)
        attention(**asked).backward(torch.tensor(dout))
        found = {name: leaf.grad.numpy() for name, leaf in leaves.items()}
        exact = gradients(problem, dout, 25)
        found |= {name: exact.value(name) for name in exact.balls if name not in found}  # nobody asked torch for these
        assert wrong(found, problem, dout) == [], seed


def test_what_torch_refuses_is_refused() -> None:
    # values that are not as many as keys, refused here, are taken by some versions, which read the first of them
    q, k = torch.ones(4, 2, 3), torch.ones(2, 2, 3)
    same: dict[str, Any] = {"query": k, "key": k, "value": k}
    for changes in (
        {"query": q},
        {"query": torch.ones(3, 2, 3), "enable_gqa": True},
        {"attn_mask": torch.ones(2, 2, dtype=torch.int64)},
        {"attn_mask": torch.ones(3, 2, dtype=torch.bool)},
        {"attn_mask": torch.ones(2, 2, dtype=torch.bool), "is_causal": True},
        {"key": torch.ones(2, 2, 4)},
        {"dropout_p": 2.0},
    ):
        with pytest.raises((RuntimeError, ValueError)):
            attention(**(same | changes))
        with pytest.raises(InvalidRequestError, match="expected"):
            Problem.from_sdpa(**(same | changes))


@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "int64"])
def test_tensors_are_taken_as_they_are(kind: str) -> None:
    numbers = np.arange(6.0).reshape(2, 3)
    tensor = torch.tensor(numbers, dtype=getattr(torch, kind))
    mask = torch.tensor([[True, False], [True, True]])
    problem = Problem(tensor, tensor, tensor, mask=mask, sinks=torch.tensor(0.5), lengths=torch.tensor(2))
    assert problem.formats == {"q": kind, "k": kind, "v": kind}
    assert problem.digest == Problem(numbers, numbers, numbers, mask=mask.numpy(), sinks=0.5, lengths=2).digest
    asked = Problem.from_sdpa(tensor, tensor.T.contiguous().T, tensor, attn_mask=mask)
    assert asked.digest == Problem(numbers, numbers, numbers, mask=mask.numpy()).digest


def test_tensors_that_numpy_cannot_read_are_refused_with_what_helps() -> None:
    plain = torch.tensor([[1.5, 2.0], [0.25, -1.0]])
    remedy = "convert it; of torch: x.detach().cpu().numpy(), or x.detach().cpu().float().numpy() of bfloat16"
    for tensor in (plain.bfloat16(), plain.clone().requires_grad_(), torch.nn.Parameter(plain), plain.to("meta")):
        for ask in (Problem, Problem.from_sdpa):
            with pytest.raises(InvalidRequestError, match=re.escape(f"; expected an array of numpy; {remedy}")):
                ask(plain, tensor, plain)
    for tensor in (plain.bfloat16(), plain.bfloat16().requires_grad_()):
        numbers = tensor.detach().cpu().float().numpy()
        assert Problem(numbers, numbers, numbers).digest == Problem(plain, plain, plain).digest
    with pytest.raises(InvalidRequestError, match="of type complex64; expected real numbers"):
        Problem(plain.to(torch.complex64), plain, plain)
